// The fields of chat completions, and what becomes of each.
#include "api/openai.h"

namespace carronade {

namespace {

constexpr std::string_view kHonoured[] = {"messages",
                                          "model",
                                          "temperature",
                                          "top_p",
                                          "top_k",
                                          "min_p",
                                          "typical_p",
                                          "presence_penalty",
                                          "frequency_penalty",
                                          "repetition_penalty",
                                          "seed",
                                          "stop",
                                          "stop_token_ids",
                                          "include_stop_str_in_output",
                                          "max_tokens",
                                          "max_completion_tokens",
                                          "min_tokens",
                                          "ignore_eos",
                                          "logit_bias",
                                          "logprobs",
                                          "top_logprobs",
                                          "n",
                                          "stream",
                                          "stream_options",
                                          "chat_template_kwargs",
                                          "include_reasoning",
                                          "thinking_token_budget",
                                          "bad_words",
                                          "dry_multiplier",
                                          "dry_base",
                                          "dry_allowed_length",
                                          "dry_penalty_last_n",
                                          "dry_sequence_breakers"};

constexpr std::string_view kBookkeeping = "kept by hosted services for their own records";

constexpr ForeignName kAccepted[] = {
    {"user", "a name for the end user; nothing here depends on it"},
    {"metadata", kBookkeeping},
    {"store", kBookkeeping},
    {"safety_identifier", kBookkeeping},
    {"prompt_cache_key", "prefixes are found in the cache without a key"},
    {"prompt_cache_retention", "prefixes stay cached for as long as there is room"},
    {"service_tier", "there is one tier"},
    {"request_id", "the reply carries the server's own id"},
    {"parallel_tool_calls", "says how tools may be called; it asks for nothing without tools"},
};

constexpr std::string_view kNoTools = "tool calls are not supported by this version";
constexpr std::string_view kNoFormat = "structured answers are not supported by this version; ask for plain text";
constexpr std::string_view kNoAudio = "only text is supported";

constexpr ForeignName kRefused[] = {
    {"skip_special_tokens", "special tokens are never part of an answer", "true"},
    {"spaces_between_special_tokens", "special tokens are never part of an answer", "true"},
    {"add_generation_prompt", "the answer is always a new turn of the assistant", "true"},
    {"continue_final_message", "continuing a message is not supported by this version"},
    {"add_special_tokens", "the chat template places the special tokens"},
    {"chat_template", "a template is set where the server is started, with --chat-template"},
    {"documents", "documents are not supported by this version; put them into a message"},
    {"tools", kNoTools},
    {"tool_choice", kNoTools, "\"none\""},
    {"functions", kNoTools},
    {"function_call", kNoTools, "\"none\""},
    {"response_format", kNoFormat, R"({"type":"text"})"},
    {"structured_outputs", kNoFormat},
    {"guided_json", kNoFormat},
    {"guided_regex", kNoFormat},
    {"guided_choice", kNoFormat},
    {"guided_grammar", kNoFormat},
    {"guided_decoding_backend", kNoFormat},
    {"guided_whitespace_pattern", kNoFormat},
    {"reasoning_effort", "a measure of thinking is not supported by this version; use chat_template_kwargs"},
    {"verbosity", "say in a message how long the answer should be", "\"medium\""},
    {"modalities", kNoAudio, R"(["text"])"},
    {"audio", kNoAudio},
    {"mm_processor_kwargs", kNoAudio},
    {"prediction", "predicted outputs are not supported by this version"},
    {"web_search_options", "this server does not reach the web"},
    {"best_of", "one answer is made for a request", "1"},
    {"use_beam_search", "answers are sampled; beam search is not supported"},
    {"length_penalty", "it belongs to beam search, which is not supported", "1.0"},
    {"early_stopping", "it belongs to beam search, which is not supported"},
    {"prompt_logprobs", "log-probabilities of the prompt are not supported by this version"},
    {"truncate_prompt_tokens", "a prompt is never cut; shorten the conversation instead"},
    {"echo", "the prompt is not repeated in a chat's answer"},
    {"allowed_token_ids", "not supported by this version; use logit_bias"},
    {"logits_processors", "code from a request is never run"},
    {"return_tokens_as_token_ids", "not supported by this version"},
    {"return_token_ids", "not supported by this version"},
    {"priority", "requests of a user are served in the order in which they come", "0"},
    {"cache_salt", "not supported by this version"},
    {"kv_transfer_params", "the cache is not shared with other servers"},
    {"vllm_xargs", "not supported"},
};

}  // namespace

const std::vector<FieldRule>& chat_completion_fields() {
  static const std::vector<FieldRule> fields = [] {
    std::vector<FieldRule> all;
    for (const std::string_view name : kHonoured) all.push_back({{name, ""}, FieldUse::kHonoured});
    for (const ForeignName& name : kAccepted) all.push_back({name, FieldUse::kAccepted});
    for (const ForeignName& name : kRefused) all.push_back({name, FieldUse::kRefused});
    return all;
  }();
  return fields;
}

}  // namespace carronade
