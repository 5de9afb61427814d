// Reading completion requests.
#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "api/completions.h"

namespace carronade {

namespace {

constexpr size_t kMostAnswers = 512;  // of all prompts together

TokenId read_token(const JsonFields& fields, const Json& value) {
  if (!value.is_number_integer() || value < 0 || value > std::numeric_limits<TokenId>::max())
    fields.fail("prompt", "must be a text, token ids, or a list of these; it holds " + json_kind(value));
  return value.get<TokenId>();
}

std::vector<TokenId> read_tokens(const JsonFields& fields, const Json& list) {
  std::vector<TokenId> tokens;
  for (const Json& value : list) tokens.push_back(read_token(fields, value));
  if (tokens.empty()) fields.fail("prompt", "must not be empty");
  return tokens;
}

TextPrompt read_prompt(const JsonFields& fields, const Json& value, const std::optional<TextPrompt::Cut>& cut) {
  TextPrompt prompt;
  if (value.is_string()) {
    prompt.text = value.get<std::string>();
  } else if (value.is_array()) {
    prompt.text = read_tokens(fields, value);
  } else {
    fields.fail("prompt", "must be a text, token ids, or a list of these, not " + json_kind(value));
  }
  prompt.suffix = fields.string("suffix");
  prompt.add_special = fields.boolean("add_special_tokens").value_or(true);
  prompt.cut = cut;
  return prompt;
}

// vLLM's truncate_prompt_tokens. `answer_tokens`: what an answer may have.
std::optional<TextPrompt::Cut> read_cut(const JsonFields& fields, int answer_tokens) {
  const auto side = fields.string("truncation_side");
  if (side && *side != "left" && *side != "right") fields.fail("truncation_side", "must be left or right");
  const auto most = small_integer(fields, "truncate_prompt_tokens", -1);
  if (!most) {
    if (side) fields.fail("truncation_side", "needs truncate_prompt_tokens");
    return std::nullopt;
  }
  if (*most == 0) fields.fail("truncate_prompt_tokens", "must be at least 1, or -1 for as many as there is room for");
  return TextPrompt::Cut{*most, side == "right", answer_tokens};
}

std::vector<TextPrompt> read_prompts(const JsonFields& fields, int n, int answer_tokens) {
  const Json& value = fields.require("prompt");
  const auto cut = read_cut(fields, answer_tokens);
  if (!value.is_array() || (!value.empty() && value[0].is_number())) return {read_prompt(fields, value, cut)};
  if (value.empty()) fields.fail("prompt", "must not be empty");
  // Before anything is made of them: a small body can ask for millions.
  if (value.size() * static_cast<size_t>(n) > kMostAnswers)
    fields.fail("prompt", "and n must ask for at most " + std::to_string(kMostAnswers) + " answers together");
  if (value.size() > 1 && fields.find("suffix")) fields.fail("suffix", "goes with one prompt");
  std::vector<TextPrompt> prompts;
  for (const Json& one : value) prompts.push_back(read_prompt(fields, one, cut));
  return prompts;
}

}  // namespace

CompletionCall parse_completion(std::string_view body) {
  const Json json = parse_json_object(body);
  check_fields(completion_fields(), json);
  const JsonFields fields(json);

  CompletionCall call;
  call.reply = read_reply_options(fields);
  call.options = read_generation_options(fields);
  call.options.plain = true;
  call.echo = fields.boolean("echo").value_or(false);
  if (call.echo && fields.find("suffix")) fields.fail("echo", "does not go with suffix");

  SamplingOptions& sampling = call.options.sampling;
  if (const auto k = fields.integer("logprobs", 0, 20)) sampling.logprobs = static_cast<int>(*k);
  if (call.echo && sampling.logprobs) {
    if (call.reply.stream) fields.fail("echo", "with logprobs does not go with a stream");
    call.options.prompt_logprobs = std::max(call.options.prompt_logprobs.value_or(0), *sampling.logprobs);
  }
  if (!sampling.max_tokens) sampling.max_tokens = 16;  // OpenAI's own default
  call.prompts = read_prompts(fields, call.reply.n, *sampling.max_tokens);
  if (sampling.max_tokens == 0) {
    if (!call.echo && !call.options.prompt_logprobs)
      fields.fail("max_tokens", "may be 0 only with echo or prompt_logprobs");
    call.only_prompt = true;
    sampling.max_tokens = 1;
  }
  return call;
}

}  // namespace carronade
