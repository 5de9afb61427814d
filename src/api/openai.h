// The OpenAI dialect, with vLLM's names where the two differ: wire JSON ↔ typed requests and events. No I/O, no
// threads. Sources: OpenAI's API reference (chat completions, models, errors); vLLM's OpenAI-compatible server
// (protocol of chat completions).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/json_fields.h"
#include "base/error.h"
#include "base/foreign_name.h"
#include "chat/generation_job.h"

namespace carronade {

// ---- Errors
// -------------------------------------------------------------------------------------------------------------------------------

int http_status(ErrorCode code);

// {"error":{"message","type","param","code"}}, `code` being the HTTP status as an integer.
std::string openai_error_body(const Error& error);
std::string openai_error_body(int status, std::string_view message, std::string_view param = {});

// ---- /v1/chat/completions
// -----------------------------------------------------------------------------------------------------------------

// What becomes of a field. The table is what the codec works by, and what documentation is made from.
enum class FieldUse {
  kHonoured,
  kAccepted,  // taken, and has no effect here; `why` says why that is right
  kRefused,   // a 400 that names it, unless its value asks for nothing (null, false, [], {}, or the JSON in `neutral`)
};
struct FieldRule : ForeignName {
  FieldUse use;
};
const std::vector<FieldRule>& chat_completion_fields();

struct ChatCompletionCall {
  ChatRequest request;
  std::string model;  // empty: whatever is served
  bool stream = false;
  bool include_usage = false;     // streams: a last chunk with the usage
  bool continuous_usage = false;  // streams: usage in every chunk (vLLM)
  bool include_reasoning = true;  // false: the thought is not sent
};

// Throws Error{kInvalidArgument} naming the field.
ChatCompletionCall parse_chat_completion(std::string_view body);

// A JSON object of sampling fields alone, spelled as in a request (vLLM's --override-generation-config). `what` is what
// messages call it. Throws Error{kInvalidArgument}.
SamplingOptions parse_sampling_options(std::string_view json, std::string_view what = "the body");

// Events of one job → a body or server-sent events. Owned by one thread.
class ChatCompletionEncoder {
 public:
  // `id` without its prefix "chatcmpl-"; `created` in seconds since 1970.
  ChatCompletionEncoder(const ChatCompletionCall& call, std::string model, std::string id, int64_t created,
                        int prompt_tokens);

  // Streams: the first frame (the role), then the frames of each event. After ChatFinished the frames end in [DONE].
  std::string start_frames();
  std::string frames(const ChatEvent& event);

  // Otherwise: collect events; after ChatFinished there is a body, or an error to answer with.
  void collect(const ChatEvent& event);
  std::string body() const;

 private:
  Json chunk(Json delta, Json finish_reason) const;
  std::string delta_frame(Json delta, Json logprobs, int completion_tokens) const;
  std::string finish_frames(const ChatFinished& finished) const;

  bool include_usage_, continuous_usage_, include_reasoning_, wants_logprobs_;
  size_t top_logprobs_;
  std::string model_, id_;
  int64_t created_;
  int prompt_tokens_;
  std::string answer_, reasoning_;
  std::vector<TokenDetail> details_;
  ChatFinished finished_;
};

std::string openai_finish_reason(FinishReason reason);

// ---- /v1/models
// ---------------------------------------------------------------------------------------------------------------------------

struct ServedModel {
  std::string id;    // one name of those it is served under
  std::string root;  // where its files come from
  int64_t created = 0;
  int max_model_len = 0;
  std::string parent{};  // of an adapter: the first name of its base model
  int adapter = -1;      // its number, or -1: the model itself
};
std::string models_body(const std::vector<ServedModel>& models);
std::string model_body(const ServedModel& model);

}  // namespace carronade
