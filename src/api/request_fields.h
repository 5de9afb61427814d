// The fields that OpenAI's generating requests have in common, with vLLM's beside them: what becomes of each, and how
// they are read. Every reader throws Error{kInvalidArgument} naming the field.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/json_fields.h"
#include "base/foreign_name.h"
#include "chat/generation_job.h"

namespace carronade {

// What becomes of a field. The tables are what the codecs work by, and what documentation is made from.
enum class FieldUse {
  kHonoured,
  kAccepted,  // taken, and has no effect here; `why` says why that is right
  kRefused,   // a 400 that names it, unless its value asks for nothing (null, false, [], or the JSON in `neutral`)
};
struct FieldRule : ForeignName {  // `why` of a field that is honoured: what it says
  FieldUse use;
  std::string_view schema;  // of a field that is honoured: its values, as a JSON schema
};
const std::vector<FieldRule>& chat_completion_fields();
const std::vector<FieldRule>& completion_fields();
bool is_sampling_field(std::string_view name);  // it says how a token is drawn

// Refuses a field that is unknown, with the nearest known one, and one that asks for what cannot be had.
void check_fields(const std::vector<FieldRule>& rules, const Json& body);

// What a request asks of its reply.
struct ReplyOptions {
  std::string model;  // empty: whatever is served
  int n = 1;          // answers to each prompt
  bool stream = false;
  bool include_usage = false;     // streams: a last chunk with the usage
  bool continuous_usage = false;  // streams: usage in every chunk (vLLM)
  bool tokens_as_ids = false;     // "token_id:17" in place of a token's text
  bool background = false;        // done when nobody else waits, with models that are loaded
  std::optional<std::chrono::milliseconds> keep_alive = std::nullopt;  // that the model stays loaded afterwards
  bool token_ids = false;  // ids of the prompt's and the answer's tokens beside the text
  std::string request_id;  // the answer's id, where no header names one; or empty
};
ReplyOptions read_reply_options(const JsonFields& fields);

// What says how an answer is drawn and where it ends, but for `logprobs`, which differs between requests.
GenerationOptions read_generation_options(const JsonFields& fields);

// A JSON object of sampling fields alone, spelled as in a request (vLLM's --override-generation-config). `what` is what
// messages call it.
SamplingOptions parse_sampling_options(std::string_view json, std::string_view what = "the body");

// A non-negative integer that an int can hold.
std::optional<int> small_integer(const JsonFields& fields, std::string_view name, int64_t low);

// A list of token ids, at most `most`; unset when it is absent.
std::optional<std::vector<TokenId>> read_token_ids(const JsonFields& fields, const char* name, size_t most);

// A list of at most `most` strings; empty when it is absent.
std::vector<std::string> read_texts(const JsonFields& fields, const char* name, size_t most);

}  // namespace carronade
