// How the JSON of a stream is set apart on the wire.
#pragma once

#include <memory>
#include <string>

#include "api/json_fields.h"
#include "base/error.h"
#include "chat/generation_job.h"

namespace carronade {

// One for each request; owned by its encoder, and used on its thread.
class StreamFraming {
 public:
  virtual ~StreamFraming() = default;
  virtual std::string chunk(const Json& json) = 0;
  virtual std::string error(const Error& error) = 0;  // in place of a chunk
  virtual std::string end(const ChatUsage& usage) = 0;
};

// "data: …" and an empty line each; the end is "[DONE]".
std::unique_ptr<StreamFraming> make_event_framing();

// A line each, "\n" at its end: {"type":"chunk","id":…,"chunk":…}, then one {"type":"done","id":…,"usage":…} or
// {"type":"error","id":…,"error":…}, and nothing behind it. `id` is the client's name for the request.
std::unique_ptr<StreamFraming> make_message_framing(const std::string& id);

}  // namespace carronade
