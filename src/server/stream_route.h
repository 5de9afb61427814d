// /v1/stream: chat-completions requests over a WebSocket, several at once. The format: docs/websocket.md.
#pragma once

#include <memory>

#include "server/router.h"
#include "server/serving_state.h"

namespace carronade {

void add_stream_route(Router& router, const std::shared_ptr<ServingState>& state);

}  // namespace carronade
