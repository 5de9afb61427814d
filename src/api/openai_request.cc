// Reading chat-completion requests.
#include <algorithm>
#include <array>
#include <charconv>

#include "api/openai.h"

namespace carronade {

namespace {

constexpr FieldUse kHonoured = FieldUse::kHonoured;
constexpr FieldUse kAccepted = FieldUse::kAccepted;
constexpr FieldUse kRefused = FieldUse::kRefused;

constexpr std::string_view kNoTools = "tool calls are not supported by this version";
constexpr std::string_view kNoFormat = "structured answers are not supported by this version; ask for plain text";
constexpr std::string_view kNoAudio = "only text is supported";
constexpr std::string_view kBookkeeping = "kept by hosted services for their own records";

}  // namespace

const std::vector<FieldRule>& chat_completion_fields() {
  static const std::vector<FieldRule> fields = {
      {"messages", kHonoured, "", ""},
      {"model", kHonoured, "", ""},
      {"temperature", kHonoured, "", ""},
      {"top_p", kHonoured, "", ""},
      {"top_k", kHonoured, "", ""},
      {"min_p", kHonoured, "", ""},
      {"typical_p", kHonoured, "", ""},
      {"presence_penalty", kHonoured, "", ""},
      {"frequency_penalty", kHonoured, "", ""},
      {"repetition_penalty", kHonoured, "", ""},
      {"seed", kHonoured, "", ""},
      {"stop", kHonoured, "", ""},
      {"stop_token_ids", kHonoured, "", ""},
      {"include_stop_str_in_output", kHonoured, "", ""},
      {"max_tokens", kHonoured, "", ""},
      {"max_completion_tokens", kHonoured, "", ""},
      {"min_tokens", kHonoured, "", ""},
      {"ignore_eos", kHonoured, "", ""},
      {"logit_bias", kHonoured, "", ""},
      {"logprobs", kHonoured, "", ""},
      {"top_logprobs", kHonoured, "", ""},
      {"n", kHonoured, "", ""},
      {"stream", kHonoured, "", ""},
      {"stream_options", kHonoured, "", ""},
      {"chat_template_kwargs", kHonoured, "", ""},
      {"include_reasoning", kHonoured, "", ""},
      {"user", kAccepted, "a name for the end user; nothing here depends on it", ""},
      {"metadata", kAccepted, kBookkeeping, ""},
      {"store", kAccepted, kBookkeeping, ""},
      {"safety_identifier", kAccepted, kBookkeeping, ""},
      {"prompt_cache_key", kAccepted, "prefixes are found in the cache without a key", ""},
      {"prompt_cache_retention", kAccepted, "prefixes stay cached for as long as there is room", ""},
      {"service_tier", kAccepted, "there is one tier", ""},
      {"request_id", kAccepted, "the reply carries the server's own id", ""},
      {"parallel_tool_calls", kAccepted, "says how tools may be called; it asks for nothing without tools", ""},
      {"skip_special_tokens", kRefused, "special tokens are never part of an answer", "true"},
      {"spaces_between_special_tokens", kRefused, "special tokens are never part of an answer", "true"},
      {"add_generation_prompt", kRefused, "the answer is always a new turn of the assistant", "true"},
      {"continue_final_message", kRefused, "continuing a message is not supported by this version", ""},
      {"add_special_tokens", kRefused, "the chat template places the special tokens", ""},
      {"chat_template", kRefused, "a template is set where the server is started, with --chat-template", ""},
      {"documents", kRefused, "documents are not supported by this version; put them into a message", ""},
      {"tools", kRefused, kNoTools, ""},
      {"tool_choice", kRefused, kNoTools, "\"none\""},
      {"functions", kRefused, kNoTools, ""},
      {"function_call", kRefused, kNoTools, "\"none\""},
      {"response_format", kRefused, kNoFormat, R"({"type":"text"})"},
      {"structured_outputs", kRefused, kNoFormat, ""},
      {"guided_json", kRefused, kNoFormat, ""},
      {"guided_regex", kRefused, kNoFormat, ""},
      {"guided_choice", kRefused, kNoFormat, ""},
      {"guided_grammar", kRefused, kNoFormat, ""},
      {"guided_decoding_backend", kRefused, kNoFormat, ""},
      {"guided_whitespace_pattern", kRefused, kNoFormat, ""},
      {"reasoning_effort", kRefused, "a measure of thinking is not supported by this version; use chat_template_kwargs",
       ""},
      {"thinking_token_budget", kRefused, "a budget for thinking is not supported by this version; use max_tokens", ""},
      {"verbosity", kRefused, "say in a message how long the answer should be", "\"medium\""},
      {"modalities", kRefused, kNoAudio, R"(["text"])"},
      {"audio", kRefused, kNoAudio, ""},
      {"mm_processor_kwargs", kRefused, kNoAudio, ""},
      {"prediction", kRefused, "predicted outputs are not supported by this version", ""},
      {"web_search_options", kRefused, "this server does not reach the web", ""},
      {"best_of", kRefused, "one answer is made for a request", "1"},
      {"use_beam_search", kRefused, "answers are sampled; beam search is not supported", ""},
      {"length_penalty", kRefused, "it belongs to beam search, which is not supported", "1.0"},
      {"early_stopping", kRefused, "it belongs to beam search, which is not supported", ""},
      {"prompt_logprobs", kRefused, "log-probabilities of the prompt are not supported by this version", ""},
      {"truncate_prompt_tokens", kRefused, "a prompt is never cut; shorten the conversation instead", ""},
      {"echo", kRefused, "the prompt is not repeated in a chat's answer", ""},
      {"bad_words", kRefused, "not supported by this version; use logit_bias", ""},
      {"allowed_token_ids", kRefused, "not supported by this version; use logit_bias", ""},
      {"logits_processors", kRefused, "code from a request is never run", ""},
      {"return_tokens_as_token_ids", kRefused, "not supported by this version", ""},
      {"return_token_ids", kRefused, "not supported by this version", ""},
      {"priority", kRefused, "requests of a user are served in the order in which they come", "0"},
      {"cache_salt", kRefused, "not supported by this version", ""},
      {"kv_transfer_params", kRefused, "the cache is not shared with other servers", ""},
      {"vllm_xargs", kRefused, "not supported", ""},
  };
  return fields;
}

namespace {

bool asks_for_nothing(const FieldRule& rule, const Json& value) {
  if (value.is_null() || value == Json(false)) return true;
  if (value.is_structured() && value.empty()) return true;
  return !rule.neutral.empty() && value == Json::parse(rule.neutral);
}

void check_fields(const Json& body) {
  for (const auto& [name, value] : body.items()) {
    const auto& rules = chat_completion_fields();
    const auto rule = std::ranges::find(rules, std::string_view(name), &FieldRule::name);
    if (rule == rules.end()) {
      std::vector<std::string_view> names;
      for (const auto& known : rules) names.push_back(known.name);
      const std::string_view near = nearest_spelling(name, names);
      throw Error(
          ErrorCode::kInvalidArgument,
          "unknown field " + name + (near.empty() ? std::string() : "; did you mean " + std::string(near) + "?"), name);
    }
    if (rule->use == FieldUse::kRefused && !asks_for_nothing(*rule, value)) {
      throw Error(ErrorCode::kInvalidArgument, name + ": " + std::string(rule->note), name);
    }
  }
}

// A message's text: a string, or parts of type text. Parts are joined by line ends, as vLLM does.
std::string read_content(const JsonFields& message, const std::string& path, bool required) {
  const Json* content = message.find("content");
  if (!content) {
    if (required) message.fail("content", "is required");
    return {};
  }
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array())
    message.fail("content", "must be a string or an array of parts, not " + json_kind(*content));
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    const JsonFields part((*content)[i], path + "content[" + std::to_string(i) + "].");
    const std::string type = part.string("type").value_or("text");
    const char* field = type == "refusal" ? "refusal" : "text";
    if (type != "text" && type != "input_text" && type != "refusal") {
      part.fail("type", "\"" + type + "\" is not supported: this model reads text only");
    }
    const auto value = part.string(field);
    if (!value) part.fail(field, "is required");
    if (i > 0) text += '\n';
    text += *value;
  }
  return text;
}

ChatMessage read_message(const Json& json, const std::string& path) {
  static constexpr std::array<std::string_view, 10> kKnown = {
      "role",         "content", "name",       "reasoning",   "reasoning_content",
      "tool_call_id", "refusal", "tool_calls", "annotations", "audio"};
  const JsonFields fields(json, path);
  for (const auto& [name, value] : json.items()) {
    if (std::ranges::find(kKnown, std::string_view(name)) == kKnown.end() && !value.is_null()) {
      throw Error(ErrorCode::kInvalidArgument, "unknown field " + path + name, path + name);
    }
  }
  for (const char* name : {"tool_calls", "audio"}) {
    const Json* value = fields.find(name);
    if (value && !(value->is_array() && value->empty())) fields.fail(name, "is not supported by this version");
  }
  ChatMessage message;
  fields.require("role");
  message.role = *fields.string("role");
  static constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
  if (std::ranges::find(kRoles, std::string_view(message.role)) == kRoles.end()) {
    fields.fail("role", "must be system, developer, user, assistant or tool, not \"" + message.role + "\"");
  }
  message.reasoning = fields.string("reasoning");
  if (!message.reasoning) message.reasoning = fields.string("reasoning_content");
  const bool may_be_empty = message.role == "assistant" && message.reasoning;
  message.content = read_content(fields, path, !may_be_empty);
  message.name = fields.string("name").value_or("");
  fields.string("tool_call_id");
  return message;
}

std::vector<std::string> read_stop(const JsonFields& fields) {
  const Json* stop = fields.find("stop");
  if (!stop) return {};
  if (stop->is_string()) return {stop->get<std::string>()};
  if (!stop->is_array()) fields.fail("stop", "must be a string or an array of strings, not " + json_kind(*stop));
  if (stop->size() > 64) fields.fail("stop", "must hold at most 64 strings");
  std::vector<std::string> result;
  for (const auto& item : *stop) {
    if (!item.is_string()) fields.fail("stop", "must hold strings only, not " + json_kind(item));
    result.push_back(item.get<std::string>());
  }
  return result;
}

void read_token_lists(const JsonFields& fields, SamplingOptions& sampling) {
  if (const Json* bias = fields.object("logit_bias")) {
    for (const auto& [key, value] : bias->items()) {
      TokenId token = 0;
      const auto [end, failed] = std::from_chars(key.data(), key.data() + key.size(), token);
      if (failed != std::errc() || end != key.data() + key.size())
        fields.fail("logit_bias", "must be keyed by token ids, not \"" + key + "\"");
      if (!value.is_number()) fields.fail("logit_bias", "must hold numbers, not " + json_kind(value));
      sampling.logit_bias.emplace_back(token, value.get<float>());
    }
    if (bias->size() > 1024) fields.fail("logit_bias", "must hold at most 1024 tokens");
  }
  if (const Json* ids = fields.array("stop_token_ids")) {
    if (ids->size() > 1024) fields.fail("stop_token_ids", "must hold at most 1024 tokens");
    for (const auto& id : *ids) {
      if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<TokenId>::max())
        fields.fail("stop_token_ids", "must hold token ids");
      sampling.stop_token_ids.push_back(id.get<TokenId>());
    }
  }
}

constexpr int64_t kMaxInt = std::numeric_limits<int>::max();

std::optional<int> small_integer(const JsonFields& fields, std::string_view name, int64_t low) {
  const auto value = fields.integer(name, low, kMaxInt);
  return value ? std::optional<int>(static_cast<int>(*value)) : std::nullopt;
}

SamplingOptions read_sampling(const JsonFields& fields) {
  SamplingOptions sampling;
  sampling.temperature = fields.number("temperature");
  sampling.top_p = fields.number("top_p");
  sampling.min_p = fields.number("min_p");
  sampling.typical_p = fields.number("typical_p");
  sampling.repetition_penalty = fields.number("repetition_penalty");
  sampling.presence_penalty = fields.number("presence_penalty");
  sampling.frequency_penalty = fields.number("frequency_penalty");
  sampling.top_k = small_integer(fields, "top_k", -1);
  sampling.min_tokens = small_integer(fields, "min_tokens", 0);
  sampling.ignore_eos = fields.boolean("ignore_eos");
  // A negative seed is a 64-bit pattern like any other.
  if (const auto seed = fields.integer("seed")) sampling.seed = static_cast<uint64_t>(*seed);

  sampling.max_tokens = small_integer(fields, "max_tokens", 1);
  const auto newer = small_integer(fields, "max_completion_tokens", 1);
  if (newer && sampling.max_tokens && *newer != *sampling.max_tokens) {
    fields.fail("max_completion_tokens", "and max_tokens are two names of one limit, and differ");
  }
  if (newer) sampling.max_tokens = newer;

  const bool logprobs = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, 20);
  if (top && *top > 0 && !logprobs) fields.fail("top_logprobs", "needs logprobs to be true");
  if (logprobs) sampling.logprobs = static_cast<int>(top.value_or(0));
  read_token_lists(fields, sampling);
  return sampling;
}

void read_stream_options(const JsonFields& fields, ChatCompletionCall& call) {
  call.stream = fields.boolean("stream").value_or(false);
  const Json* json = fields.object("stream_options");
  if (!json) return;
  if (!call.stream) fields.fail("stream_options", "needs stream to be true");
  const JsonFields options(*json, "stream_options.");
  for (const auto& [name, value] : json->items()) {
    if (name == "include_obfuscation" && value == Json(false)) continue;
    if (name != "include_usage" && name != "continuous_usage_stats") options.fail(name, "is not supported");
  }
  call.include_usage = options.boolean("include_usage").value_or(false);
  call.continuous_usage = options.boolean("continuous_usage_stats").value_or(false);
}

}  // namespace

SamplingOptions parse_sampling_options(std::string_view text) {
  const Json json = parse_json_object(text);
  check_fields(json);
  return read_sampling(JsonFields(json));
}

ChatCompletionCall parse_chat_completion(std::string_view body) {
  const Json json = parse_json_object(body);
  check_fields(json);
  const JsonFields fields(json);

  ChatCompletionCall call;
  call.model = fields.string("model").value_or("");
  fields.require("messages");
  const Json& messages = *fields.array("messages");
  if (messages.empty()) fields.fail("messages", "must hold at least one message");
  for (size_t i = 0; i < messages.size(); ++i) {
    call.request.messages.push_back(read_message(messages[i], "messages[" + std::to_string(i) + "]."));
  }
  if (fields.integer("n", 1).value_or(1) != 1)
    fields.fail("n", "must be 1: this version makes one answer for a request");
  call.request.sampling = read_sampling(fields);
  call.request.stop = read_stop(fields);
  call.request.include_stop = fields.boolean("include_stop_str_in_output").value_or(false);
  if (const Json* arguments = fields.object("chat_template_kwargs")) call.request.template_arguments = *arguments;
  call.include_reasoning = fields.boolean("include_reasoning").value_or(true);
  read_stream_options(fields, call);
  return call;
}

}  // namespace carronade
