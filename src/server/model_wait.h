// A request's way to its model, which may have to be loaded first.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "server/http.h"
#include "server/serving_state.h"

namespace carronade {

// How the reply looks, should it have to begin before the model is there.
struct WaitingReply {
  bool stream = false;  // a long wait begins the stream, whose comments keep the client's connection alive
  std::string_view stream_type = "text/event-stream; charset=utf-8";
  std::string (*error_frame)(const Error&) = nullptr;  // of the dialect: an error in a stream that has begun
};

// The head of a stream, the same whoever begins it.
HttpResponse stream_head(std::string_view type);

// On the exchange's strand: calls `go` there with the model in hand, at once where it is loaded. A client that goes
// away meanwhile ends the wait. Throws Error, and so may `go`: what it throws later becomes the reply. `go` must not
// refer to the request: that may be gone.
void with_model(const std::shared_ptr<ServingState>& state, const std::shared_ptr<Exchange>& exchange,
                const ModelWanted& wanted, const WaitingReply& reply,
                std::function<void(const std::shared_ptr<const ChatModel>&)> go);

}  // namespace carronade
