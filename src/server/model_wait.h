// A request's way to its model, which may have to be loaded first, and to its tokens, which may take long.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "server/http.h"
#include "server/serving_state.h"

namespace carronade {

// The request's size, and how the reply looks, should it have to begin before the model is there.
struct WaitingReply {
  size_t bytes = 0;     // of the request
  bool stream = false;  // a long wait begins the stream, whose comments keep the client's connection alive
  std::string_view stream_type = "text/event-stream; charset=utf-8";
  std::string (*error_frame)(const Error&) = nullptr;  // of the dialect: an error in a stream that has begun
};

// The head of a stream, the same whoever begins it.
HttpResponse stream_head(std::string_view type);

// Requests of up to so many bytes are read where they come in; what is longer would keep other connections waiting.
inline constexpr size_t kReadAtOnceBytes = 64 << 10;

// What becomes of a request once its model is there: from texts to tokens, on any thread, and what that returns
// answers, on the exchange's strand. Must not refer to the request: that may be gone.
using PrepareAnswer = std::function<std::function<void()>(const std::shared_ptr<const ChatModel>&)>;

// On the exchange's strand: prepares and answers, at once where the model is loaded and the request not long. A client
// that goes away meanwhile ends the wait. Throws Error, and so may both parts: what they throw later becomes the reply.
void with_model(const std::shared_ptr<ServingState>& state, const std::shared_ptr<Exchange>& exchange,
                const ModelWanted& wanted, const WaitingReply& reply, PrepareAnswer prepare);

// The error that is being handled, as a client is told it; what no client should read goes to the log.
Error error_for_client();

}  // namespace carronade
