// Reading the fields that several requests share.
#include "api/request_fields.h"
#include "base/duration.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <memory>
#include <utility>

namespace carronade {

namespace {

bool asks_for_nothing(const FieldRule& rule, const Json& value) {
  if (value.is_null() || value == Json(false) || value == Json::array()) return true;
  return !rule.neutral.empty() && value == Json::parse(rule.neutral);
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
  sampling.stop_token_ids = read_token_ids(fields, "stop_token_ids", 1024).value_or(std::vector<TokenId>());
}

constexpr int64_t kMostAnswers = 128;             // as OpenAI has it
constexpr size_t kMostAllowedTokens = 1'000'000;  // more than any vocabulary
constexpr int64_t kMaxInt = std::numeric_limits<int>::max();

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

  sampling.max_tokens = small_integer(fields, "max_tokens", 0);
  const auto newer = small_integer(fields, "max_completion_tokens", 1);
  if (newer && sampling.max_tokens && *newer != *sampling.max_tokens) {
    fields.fail("max_completion_tokens", "and max_tokens are two names of one limit, and differ");
  }
  if (newer) sampling.max_tokens = newer;
  read_token_lists(fields, sampling);
  read_dry(fields, sampling);
  if (fields.find("bad_words")) sampling.bad_words = read_texts(fields, "bad_words", 1024);
  return sampling;
}

bool is_request_id(std::string_view text) {
  return !text.empty() && text.size() <= 128 && std::ranges::all_of(text, [](unsigned char c) {
    return std::isalnum(c) || c == '.' || c == '_' || c == ':' || c == '-';
  });
}

std::vector<std::string> read_stop(const JsonFields& fields) {
  const Json* stop = fields.find("stop");
  if (stop && stop->is_string()) return {stop->get<std::string>()};
  if (stop && !stop->is_array())
    fields.fail("stop", "must be a string or an array of strings, not " + json_kind(*stop));
  return read_texts(fields, "stop", 64);
}

}  // namespace

void check_fields(const std::vector<FieldRule>& rules, const Json& body) {
  for (const auto& [name, value] : body.items()) {
    const auto rule = std::ranges::find(rules, std::string_view(name), &FieldRule::name);
    if (rule == rules.end()) {
      std::vector<std::string_view> names;
      for (const auto& known : rules) names.push_back(known.name);
      const std::string_view near = nearest_spelling(name, names);
      throw Error(ErrorCode::kInvalidArgument,
                  "unknown field " + shown_name(name) +
                      (near.empty() ? std::string() : "; did you mean " + std::string(near) + "?"),
                  shown_name(name));
    }
    if (rule->use == FieldUse::kRefused && !asks_for_nothing(*rule, value)) {
      throw Error(ErrorCode::kInvalidArgument, name + ": " + std::string(rule->why), name);
    }
  }
}

std::optional<int> small_integer(const JsonFields& fields, std::string_view name, int64_t low) {
  const auto value = fields.integer(name, low, kMaxInt);
  return value ? std::optional<int>(static_cast<int>(*value)) : std::nullopt;
}

std::optional<std::vector<TokenId>> read_token_ids(const JsonFields& fields, const char* name, size_t most) {
  const Json* ids = fields.array(name);
  if (!ids) return std::nullopt;
  if (ids->size() > most) fields.fail(name, "must hold at most " + std::to_string(most) + " tokens");
  std::vector<TokenId> result;
  for (const auto& id : *ids) {
    if (!id.is_number_integer() || id < 0 || id > std::numeric_limits<TokenId>::max())
      fields.fail(name, "must hold token ids");
    result.push_back(id.get<TokenId>());
  }
  return result;
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

// OpenAI's "flex": slower, and sometimes not to be had.
bool is_flex(const JsonFields& fields) {
  const auto tier = fields.string("service_tier");
  if (!tier || *tier == "flex") return tier.has_value();
  for (const char* other : {"auto", "default", "priority", "scale"}) {
    if (*tier == other) return false;
  }
  fields.fail("service_tier", "must be auto, default, flex, priority or scale, not \"" + *tier + "\"");
}

GenerationOptions read_generation_options(const JsonFields& fields) {
  GenerationOptions options;
  options.sampling = read_sampling(fields);
  options.stop = read_stop(fields);
  options.include_stop = fields.boolean("include_stop_str_in_output").value_or(false);
  options.show_special_tokens = !fields.boolean("skip_special_tokens").value_or(true);
  if (const auto k = fields.integer("prompt_logprobs", 0, 20)) options.prompt_logprobs = static_cast<int>(*k);
  options.token_ids = fields.boolean("return_token_ids").value_or(false);
  if (auto allowed = read_token_ids(fields, "allowed_token_ids", kMostAllowedTokens)) {
    if (allowed->empty()) fields.fail("allowed_token_ids", "must hold at least one token");
    std::ranges::sort(*allowed);
    allowed->erase(std::unique(allowed->begin(), allowed->end()), allowed->end());
    options.allowed_token_ids = std::make_shared<const std::vector<TokenId>>(std::move(*allowed));
  }
  if (const auto salt = fields.string("cache_salt")) {
    if (salt->empty()) fields.fail("cache_salt", "must not be empty");
    options.cache_salt = *salt;
  }
  // vLLM counts priorities downwards. Who gives one still wants an answer: only flex goes without where a model is not
  // loaded, or must go.
  options.background = fields.integer("priority", 0).value_or(0) > 0 || is_flex(fields);
  return options;
}

// As Ollama's clients write it: seconds, or a duration.
std::optional<std::chrono::milliseconds> read_keep_alive(const JsonFields& fields) {
  const Json* value = fields.find("keep_alive");
  if (!value) return std::nullopt;
  if (value->is_number()) return duration_of_seconds(value->get<double>());
  const auto duration = value->is_string() ? parse_duration(value->get<std::string>()) : std::nullopt;
  if (!duration) fields.fail("keep_alive", "must be seconds, or a duration such as \"5m\"; -1 is for ever");
  return duration;
}

ReplyOptions read_reply_options(const JsonFields& fields) {
  ReplyOptions reply;
  reply.keep_alive = read_keep_alive(fields);
  reply.background = is_flex(fields);
  reply.model = fields.string("model").value_or("");
  reply.n = static_cast<int>(fields.integer("n", 1, kMostAnswers).value_or(1));
  const auto best_of = fields.integer("best_of", 1);
  if (best_of && *best_of != reply.n) fields.fail("best_of", "must be n: every answer that is made is sent");
  reply.tokens_as_ids = fields.boolean("return_tokens_as_token_ids").value_or(false);
  reply.token_ids = fields.boolean("return_token_ids").value_or(false);
  reply.request_id = fields.string("request_id").value_or("");
  if (fields.find("request_id") && !is_request_id(reply.request_id))
    fields.fail("request_id", "must be 1 to 128 letters, digits and . _ : -");
  reply.stream = fields.boolean("stream").value_or(false);
  if (reply.stream && fields.find("prompt_logprobs")) fields.fail("prompt_logprobs", "does not go with a stream");
  const Json* json = fields.object("stream_options");
  if (!json) return reply;
  if (!reply.stream) fields.fail("stream_options", "needs stream to be true");
  const JsonFields options(*json, "stream_options.");
  for (const auto& [name, value] : json->items()) {
    if (name == "include_obfuscation" && value == Json(false)) continue;
    if (name != "include_usage" && name != "continuous_usage_stats") options.fail(name, "is not supported");
  }
  reply.include_usage = options.boolean("include_usage").value_or(false);
  reply.continuous_usage = options.boolean("continuous_usage_stats").value_or(false);
  return reply;
}

SamplingOptions parse_sampling_options(std::string_view text, std::string_view what) {
  const Json json = parse_json_object(text, what);
  check_fields(chat_completion_fields(), json);
  for (const auto& [name, value] : json.items()) {
    if (!is_sampling_field(name))
      throw Error(ErrorCode::kInvalidArgument, name + " does not say how tokens are drawn", name);
  }
  return read_generation_options(JsonFields(json)).sampling;
}

}  // namespace carronade
