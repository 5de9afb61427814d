// The way of one generating request, whatever its dialect: answers started, their events encoded, the reply written.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/answer_encoder.h"
#include "chat/generation_job.h"
#include "server/http.h"
#include "server/serving_state.h"

namespace carronade {

struct AnsweringCall {
  std::string id;               // the request's
  std::shared_ptr<ApiKey> key;  // who pays; nullptr: nobody
  std::string_view route;       // for the log: "chat"
  bool stream = false;
  std::string_view stream_type = "text/event-stream; charset=utf-8";
  std::vector<PreparedGeneration> prompts;
  int answers = 1;  // to each prompt: answer a is number a % answers of prompt a / answers
  std::unique_ptr<AnswerEncoder> encoder;
  std::string (*error_body)(const Error&) = nullptr;  // of the dialect
};

// On the exchange's strand. Starts all answers and replies when they have ended, or as they come. A client that goes
// away ends them. Throws Error, and then nothing was sent.
void answer(const std::shared_ptr<ServingState>& state, const std::shared_ptr<Exchange>& exchange, AnsweringCall call);

}  // namespace carronade
