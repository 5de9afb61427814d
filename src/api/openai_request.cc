// Reading chat-completion requests.
#include <algorithm>
#include <array>
#include <charconv>

#include "api/openai.h"

namespace carronade {

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
      throw Error(ErrorCode::kInvalidArgument, name + ": " + std::string(rule->why), name);
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

std::vector<std::string> read_texts(const JsonFields& fields, const char* name, size_t most) {
  const Json* texts = fields.array(name);
  if (!texts) return {};
  if (texts->size() > most) fields.fail(name, "must hold at most " + std::to_string(most) + " strings");
  std::vector<std::string> result;
  for (const auto& item : *texts) {
    if (!item.is_string()) fields.fail(name, "must hold strings only, not " + json_kind(item));
    result.push_back(item.get<std::string>());
  }
  return result;
}

std::vector<std::string> read_stop(const JsonFields& fields) {
  const Json* stop = fields.find("stop");
  if (stop && stop->is_string()) return {stop->get<std::string>()};
  if (stop && !stop->is_array())
    fields.fail("stop", "must be a string or an array of strings, not " + json_kind(*stop));
  return read_texts(fields, "stop", 64);
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

void read_dry(const JsonFields& fields, SamplingOptions& sampling) {
  sampling.dry_multiplier = fields.number("dry_multiplier");
  sampling.dry_base = fields.number("dry_base");
  sampling.dry_allowed_length = small_integer(fields, "dry_allowed_length", 0);
  sampling.dry_penalty_last_n = small_integer(fields, "dry_penalty_last_n", -1);
  if (fields.find("dry_sequence_breakers"))
    sampling.dry_sequence_breakers = read_texts(fields, "dry_sequence_breakers", 32);
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
  read_dry(fields, sampling);
  if (fields.find("bad_words")) sampling.bad_words = read_texts(fields, "bad_words", 1024);
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

SamplingOptions parse_sampling_options(std::string_view text, std::string_view what) {
  static constexpr std::array<std::string_view, 23> kSampling = {"temperature",
                                                                 "top_p",
                                                                 "top_k",
                                                                 "min_p",
                                                                 "typical_p",
                                                                 "presence_penalty",
                                                                 "seed",
                                                                 "bad_words",
                                                                 "frequency_penalty",
                                                                 "max_tokens",
                                                                 "min_tokens",
                                                                 "repetition_penalty",
                                                                 "ignore_eos",
                                                                 "logit_bias",
                                                                 "max_completion_tokens",
                                                                 "logprobs",
                                                                 "top_logprobs",
                                                                 "stop_token_ids",
                                                                 "dry_multiplier",
                                                                 "dry_base",
                                                                 "dry_allowed_length",
                                                                 "dry_penalty_last_n",
                                                                 "dry_sequence_breakers"};
  const Json json = parse_json_object(text, what);
  check_fields(json);
  for (const auto& [name, value] : json.items()) {
    if (std::ranges::find(kSampling, std::string_view(name)) == kSampling.end())
      throw Error(ErrorCode::kInvalidArgument, name + " does not say how tokens are drawn", name);
  }
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
  call.request.thinking_budget = small_integer(fields, "thinking_token_budget", 0);
  call.request.include_stop = fields.boolean("include_stop_str_in_output").value_or(false);
  if (const Json* arguments = fields.object("chat_template_kwargs")) call.request.template_arguments = *arguments;
  call.include_reasoning = fields.boolean("include_reasoning").value_or(true);
  read_stream_options(fields, call);
  return call;
}

}  // namespace carronade
