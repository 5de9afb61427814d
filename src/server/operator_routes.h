// Routes for who runs the server, and the small ones of vLLM.
#pragma once

#include <memory>
#include <string>

#include "server/router.h"
#include "server/serving_state.h"

namespace carronade {

// /metrics, /load, /ping, /version and /debug/scheduler, on the API's listener only, behind the key. The router holds
// the handlers and is read by them; the state is kept for as long as it lives.
void add_operator_routes(Router& router, const std::shared_ptr<ServingState>& state, std::string version);

}  // namespace carronade
