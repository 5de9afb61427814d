// The OpenAI routes: bodies to codec, codec to jobs, events to the wire.
#pragma once

#include <memory>

#include "server/router.h"
#include "server/serving_state.h"

namespace carronade {

// /health, /v1/models, /v1/models/NAME, /v1/chat/completions, /v1/completions, vLLM's /tokenize and /detokenize. The
// state is kept for as long as the router lives.
void add_openai_routes(Router& router, const std::shared_ptr<ServingState>& state);

}  // namespace carronade
