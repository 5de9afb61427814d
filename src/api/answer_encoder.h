// What every dialect makes of the answers to one request.
#pragma once

#include <string>

#include "chat/generation_job.h"

namespace carronade {

// Events of the answers → one body, or the frames of a stream. Answers are numbered from 0 and come mixed. Owned by one
// thread.
class AnswerEncoder {
 public:
  virtual ~AnswerEncoder() = default;

  // A stream is start_frames(), frames() for each event, and end_frames() after the last ChatFinished.
  virtual std::string start_frames() = 0;
  virtual std::string frames(int answer, const ChatEvent& event) = 0;
  virtual std::string end_frames() = 0;

  // Otherwise: collect() each event; after the last ChatFinished there is a body.
  virtual void collect(int answer, const ChatEvent& event) = 0;
  virtual std::string body() const = 0;
};

}  // namespace carronade
