// The OpenAI routes: bodies to codec, codec to jobs, events to the wire.
#pragma once

#include <memory>

#include "api/chat_completions.h"
#include "server/model_wait.h"
#include "server/router.h"
#include "server/serving_state.h"

namespace carronade {

// Answers one chat-completions request, whatever it came by. `framing`: of a stream. `waiting`: what is done while its
// model is loaded. Throws Error, and then nothing was sent.
void answer_chat(const std::shared_ptr<ServingState>& state, const HttpRequest& request,
                 const std::shared_ptr<Exchange>& exchange, ChatCompletionCall wanted,
                 std::unique_ptr<StreamFraming> framing, const WaitingReply& waiting = {});

// /health, /v1/models, /v1/models/NAME, /v1/chat/completions, /v1/completions, /v1/stream, vLLM's /tokenize and
// /detokenize. The state is kept for as long as the router lives.
void add_openai_routes(Router& router, const std::shared_ptr<ServingState>& state);

}  // namespace carronade
