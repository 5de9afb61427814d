// /v1/stream: the messages of a WebSocket ↔ typed requests. No I/O, no threads. The format: docs/websocket.md.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "api/chat_completions.h"
#include "base/error.h"

namespace carronade {

struct CancelAnswer {};
struct AnswerNow {};

// What a client sent. `id` is its name for a request, of 1 to 64 bytes; empty: none was given.
struct StreamMessage {
  std::string id;
  std::variant<ChatCompletionCall, CancelAnswer, AnswerNow, Error> what;  // Error: what is wrong with it
};

// Never throws Error. The call always streams.
StreamMessage parse_stream_message(std::string_view text);

// {"type":"error","id":…,"error":{…}}. `error_body` is one of the OpenAI dialect; an empty `id` is null: then no
// request of that name was begun or ended. `retry_after` in seconds, where trying again helps.
std::string stream_error_message(std::string_view id, std::string_view error_body,
                                 std::optional<int> retry_after = std::nullopt);

}  // namespace carronade
