// The fields of generating requests, and what becomes of each.
#include "api/request_fields.h"

#include <algorithm>
#include <span>

namespace carronade {

namespace {

// A field that is honoured: its name, what it says, and its values as a JSON schema. A null is always as if it were
// absent.
struct Honoured {
  std::string_view name, what, schema;
};

constexpr Honoured kSampling[] = {
    {"temperature", "how far from the most probable token; 0 takes it always",
     R"({"type":"number","minimum":0,"maximum":100})"},
    {"top_p", "draw from the most probable tokens that make up this much",
     R"({"type":"number","exclusiveMinimum":0,"maximum":1})"},
    {"top_k", "draw from this many of the most probable tokens; 0 and -1: all", R"({"type":"integer","minimum":-1})"},
    {"min_p", "leave out tokens less probable than this share of the most probable one",
     R"({"type":"number","minimum":0,"maximum":1})"},
    {"typical_p", "draw from the tokens nearest to the expected surprise that make up this much",
     R"({"type":"number","exclusiveMinimum":0,"maximum":1})"},
    {"presence_penalty", "taken off the logit of a token already in the answer",
     R"({"type":"number","minimum":-2,"maximum":2})"},
    {"frequency_penalty", "taken off for each time that it is there", R"({"type":"number","minimum":-2,"maximum":2})"},
    {"repetition_penalty", "divides the logits of tokens in prompt and answer",
     R"({"type":"number","exclusiveMinimum":0})"},
    {"seed", "the same answer to the same request", R"({"type":"integer"})"},
    {"stop_token_ids", "tokens that end an answer",
     R"({"type":"array","items":{"type":"integer","minimum":0},"maxItems":1024})"},
    {"max_tokens", "of an answer, its thought included; the end of the context ends it too",
     R"({"type":"integer","minimum":1})"},
    {"max_completion_tokens", "the newer name of max_tokens", R"({"type":"integer","minimum":1})"},
    {"min_tokens", "nothing ends an answer before", R"({"type":"integer","minimum":0})"},
    {"ignore_eos", "write on where the model would end", R"({"type":"boolean"})"},
    {"logit_bias", "added to the logits of these token ids",
     R"({"type":"object","additionalProperties":{"type":"number","minimum":-100,"maximum":100}})"},
    {"bad_words", "texts that an answer must not hold",
     R"({"type":"array","items":{"type":"string","minLength":1},"maxItems":1024})"},
    {"dry_multiplier", "strength of the penalty on repeated passages; 0: none",
     R"({"type":"number","minimum":0,"maximum":100})"},
    {"dry_base", "how it grows with the passage's length", R"({"type":"number","minimum":1,"maximum":100})"},
    {"dry_allowed_length", "passages of so many tokens may repeat", R"({"type":"integer","minimum":0})"},
    {"dry_penalty_last_n", "tokens to look back; -1: all", R"({"type":"integer","minimum":-1})"},
    {"dry_sequence_breakers", "texts across which a passage is not followed",
     R"({"type":"array","items":{"type":"string","minLength":1},"maxItems":32})"},
};

// Of every request.
constexpr Honoured kCommon[] = {
    {"model", "one of /v1/models; absent: the one that is served", R"({"type":"string"})"},
    {"n", "answers to each prompt", R"({"type":"integer","minimum":1,"maximum":128})"},
    {"best_of", "must be n", R"({"type":"integer","minimum":1})"},
    {"stop", "texts that end an answer",
     R"({"anyOf":[{"type":"string","minLength":1},{"type":"array","items":{"type":"string","minLength":1},"maxItems":64}]})"},
    {"include_stop_str_in_output", "leave that text in the answer", R"({"type":"boolean"})"},
    {"stream", "send the answer as it is written, as server-sent events", R"({"type":"boolean"})"},
    {"stream_options", "include_usage: a last chunk with the usage; continuous_usage_stats: usage in every chunk",
     R"({"type":"object","properties":{"include_usage":{"type":"boolean"},"continuous_usage_stats":{"type":"boolean"}},"additionalProperties":false})"},
    {"prompt_logprobs", "rate the prompt's tokens, with so many alternatives; not in streams",
     R"({"type":"integer","minimum":0,"maximum":20})"},
    {"skip_special_tokens", "leave control tokens out of the answer (the default)", R"({"type":"boolean"})"},
    {"service_tier", "flex: done when nobody else waits, and only with a model that is loaded; the others are one tier",
     R"({"type":"string","enum":["auto","default","flex","priority","scale"]})"},
    {"keep_alive", "that the model stays loaded afterwards: seconds, or \"5m\"; 0: no longer, -1: for ever",
     R"({"anyOf":[{"type":"number"},{"type":"string","pattern":"^-?([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"}]})"},
    {"return_tokens_as_token_ids", "spell tokens as token_id:17 in log-probabilities", R"({"type":"boolean"})"},
    {"return_token_ids", "add prompt_token_ids and token_ids, the answer's end token among them",
     R"({"type":"boolean"})"},
    {"allowed_token_ids", "no other token comes, not even an end that is not among them",
     R"({"type":"array","minItems":1,"items":{"type":"integer","minimum":0}})"},
    {"cache_salt", "share cached prefixes only with requests that say the same", R"({"type":"string","minLength":1})"},
    {"priority", "0, or above: only when nobody else waits; unlike flex it waits for its model, too",
     R"({"type":"integer","minimum":0})"},
    {"request_id", "the answer's id, where no X-Request-Id header names one: letters, digits and . _ : -",
     R"({"type":"string","pattern":"^[A-Za-z0-9._:-]{1,128}$"})"},
};

constexpr Honoured kChat[] = {
    {"messages", "the conversation; roles system, developer, user, assistant, tool",
     R"({"type":"array","minItems":1,"items":{"$ref":"#/components/schemas/Message"}})"},
    {"logprobs", "rate the answer's tokens", R"({"type":"boolean"})"},
    {"top_logprobs", "and so many alternatives in their places", R"({"type":"integer","minimum":0,"maximum":20})"},
    {"chat_template_kwargs", "further variables of the model's template, such as enable_thinking",
     R"({"type":"object"})"},
    {"include_reasoning", "send the thought (the default)", R"({"type":"boolean"})"},
    {"thinking_token_budget", "tokens of the thought at most; 0: no thought; -1: as many as it wants",
     R"({"type":"integer","minimum":-1})"},
    {"reasoning_effort", "how much to think, where thinking_token_budget does not say it",
     R"({"type":"string","enum":["none","minimal","low","medium","high","xhigh","max"]})"},
    {"add_generation_prompt", "begin a new turn of the assistant (the default)", R"({"type":"boolean"})"},
    {"continue_final_message", "go on with the last message; then there is no new turn", R"({"type":"boolean"})"},
    {"echo", "put the last message before the answer, where both are of one role", R"({"type":"boolean"})"},
    {"documents", "for the model's template, if it shows documents",
     R"({"type":"array","items":{"type":"object","additionalProperties":{"type":"string"}}})"},
    {"return_prompt_text", "add prompt_text, what the template made of the messages", R"({"type":"boolean"})"},
};

constexpr Honoured kCompletions[] = {
    {"prompt", "a text, token ids, or a list of these",
     R"({"anyOf":[{"type":"string"},{"type":"array","minItems":1,"items":{"type":"string"}},{"type":"array","minItems":1,"items":{"type":"integer","minimum":0}},{"type":"array","minItems":1,"items":{"type":"array","minItems":1,"items":{"type":"integer","minimum":0}}}]})"},
    {"logprobs", "rate the answer's tokens, with so many alternatives",
     R"({"type":"integer","minimum":0,"maximum":20})"},
    {"suffix", "what comes after the gap that is to be filled", R"({"type":"string"})"},
    {"echo", "put the prompt before the answer", R"({"type":"boolean"})"},
    {"add_special_tokens", "begin as the model's files say (the default)", R"({"type":"boolean"})"},
    {"truncate_prompt_tokens", "keep so many of the prompt's last tokens; -1: as many as leave room for the answer",
     R"({"type":"integer","minimum":-1})"},
    {"truncation_side", "with truncate_prompt_tokens: where to cut, left (the default) or right",
     R"({"type":"string","enum":["left","right"]})"},
};

constexpr std::string_view kBookkeeping = "kept by hosted services for their own records";

constexpr ForeignName kAccepted[] = {
    {"user", "a name for the end user; nothing here depends on it"},
    {"metadata", kBookkeeping},
    {"store", kBookkeeping},
    {"safety_identifier", kBookkeeping},
    {"prompt_cache_key", "prefixes are found in the cache without a key"},
    {"prompt_cache_retention", "prefixes stay cached for as long as there is room"},
    {"prompt_cache_options", "prefixes stay cached for as long as there is room"},
    {"spaces_between_special_tokens", "none are put there, as with vLLM's fast tokenizers"},
};

constexpr ForeignName kAcceptedInChat[] = {
    {"parallel_tool_calls", "says how tools may be called; it asks for nothing without tools"},
};

constexpr std::string_view kNoTools = "tool calls are not supported by this version";
constexpr std::string_view kNoFormat = "structured answers are not supported by this version; ask for plain text";
constexpr std::string_view kNoAudio = "only text is supported";

constexpr ForeignName kRefused[] = {
    {"response_format", kNoFormat, R"({"type":"text"})"},
    {"structured_outputs", kNoFormat},
    {"guided_json", kNoFormat},
    {"guided_regex", kNoFormat},
    {"guided_choice", kNoFormat},
    {"guided_grammar", kNoFormat},
    {"guided_decoding_backend", kNoFormat},
    {"guided_whitespace_pattern", kNoFormat},
    {"use_beam_search", "answers are sampled; beam search is not supported"},
    {"length_penalty", "it belongs to beam search, which is not supported", "1.0"},
    {"early_stopping", "it belongs to beam search, which is not supported"},
    {"logits_processors", "code from a request is never run"},
    {"repetition_detection", "not supported by this version; dry_multiplier keeps an answer from repeating itself"},
    {"return_token_offsets", "only the routes that render a prompt, which are not here, have them"},
    {"kv_transfer_params", "the cache is not shared with other servers"},
    {"ec_transfer_params", kNoAudio},
    {"vllm_xargs", "there are no extensions that would read them"},
    {"moderation", "this server asks no other service about a text"},
};

constexpr ForeignName kRefusedInChat[] = {
    {"truncate_prompt_tokens", "a conversation is never cut; leave out its oldest messages"},
    {"truncation_side", "a conversation is never cut; leave out its oldest messages"},
    {"return_assistant_tokens_mask", "only the routes that render a prompt, which are not here, have it"},
    {"add_special_tokens", "the chat template places the special tokens"},
    {"chat_template", "a template is set where the server is started, with --chat-template"},
    {"tools", kNoTools},
    {"tool_choice", kNoTools, "\"none\""},
    {"functions", kNoTools},
    {"function_call", kNoTools, "\"none\""},
    {"verbosity", "say in a message how long the answer should be", "\"medium\""},
    {"modalities", kNoAudio, R"(["text"])"},
    {"audio", kNoAudio},
    {"mm_processor_kwargs", kNoAudio},
    {"media_io_kwargs", kNoAudio},
    {"prediction", "predicted outputs are not supported by this version"},
    {"web_search_options", "this server does not reach the web"},
};

constexpr ForeignName kRefusedInCompletions[] = {
    {"prompt_embeds", "a prompt is text or token ids"},
    {"thinking_token_budget", "a text goes on without a thought; /v1/chat/completions thinks", "-1"},
};

std::vector<FieldRule> rules_of(std::span<const Honoured> honoured, std::span<const ForeignName> accepted,
                                std::span<const ForeignName> refused) {
  std::vector<FieldRule> all;
  const auto honour = [&](std::span<const Honoured> fields) {
    for (const Honoured& field : fields) all.push_back({{field.name, field.what}, FieldUse::kHonoured, field.schema});
  };
  const auto add = [&](std::span<const ForeignName> names, FieldUse use) {
    for (const ForeignName& name : names) all.push_back({name, use, {}});
  };
  honour(honoured);
  honour(kCommon);
  honour(kSampling);
  add(kAccepted, FieldUse::kAccepted);
  add(accepted, FieldUse::kAccepted);
  add(kRefused, FieldUse::kRefused);
  add(refused, FieldUse::kRefused);
  return all;
}

}  // namespace

const std::vector<FieldRule>& chat_completion_fields() {
  static const std::vector<FieldRule> fields = rules_of(kChat, kAcceptedInChat, kRefusedInChat);
  return fields;
}

const std::vector<FieldRule>& completion_fields() {
  static const std::vector<FieldRule> fields = rules_of(kCompletions, {}, kRefusedInCompletions);
  return fields;
}

bool is_sampling_field(std::string_view name) {
  return std::ranges::find(kSampling, name, &Honoured::name) != std::end(kSampling);
}

}  // namespace carronade
