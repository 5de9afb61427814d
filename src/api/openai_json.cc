#include "api/openai_json.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "api/openai.h"

namespace carronade {

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string frame(const Json& json) { return "data: " + dump(json) + "\n\n"; }

Error error_of(const ChatFinished& finished) {
  return finished.error.value_or(Error(ErrorCode::kInternal, "the model failed while answering"));
}

std::string error_frame(const ChatFinished& finished) { return openai_error_frame(error_of(finished)); }

Json usage_json(const ChatUsage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"completion_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}}};
}

ChatUsage total_usage(std::span<const ChatUsage> answers, int n) {
  ChatUsage total;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (i % static_cast<size_t>(n) == 0) {
      total.prompt_tokens += answers[i].prompt_tokens;
      total.cached_tokens += answers[i].cached_tokens;
    }
    total.completion_tokens += answers[i].completion_tokens;
    total.reasoning_tokens += answers[i].reasoning_tokens;
  }
  return total;
}

void append_token_ids(const ChatEvent& event, std::vector<TokenId>& ids) {
  std::visit(
      [&](const auto& any) {
        if constexpr (requires { any.token_ids; }) ids.insert(ids.end(), any.token_ids.begin(), any.token_ids.end());
      },
      event);
}

Json stop_reason_json(const ChatFinished& finished) {
  if (finished.stop_string) return *finished.stop_string;
  if (finished.stop_token) return *finished.stop_token;
  return nullptr;
}

std::string openai_finish_reason(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "abort";  // vLLM's word
    case FinishReason::kFailed:
      return "error";
  }
  return "error";
}

std::string token_text(const TokenDetail& detail, bool as_id) {
  return as_id ? "token_id:" + std::to_string(detail.token) : detail.bytes;
}

Json prompt_logprobs_json(const std::vector<TokenDetail>& prompt, int k) {
  Json result = Json::array({nullptr});
  const auto add = [](Json& place, const TokenDetail& token) {
    place[std::to_string(token.token)] = {
        {"logprob", token.logprob}, {"rank", token.rank}, {"decoded_token", token.bytes}};
  };
  for (const TokenDetail& token : prompt) {
    Json place = Json::object();
    add(place, token);
    for (size_t i = 0; i < std::min(static_cast<size_t>(k), token.top.size()); ++i) {
      if (token.top[i].token != token.token) add(place, token.top[i]);
    }
    result.push_back(std::move(place));
  }
  return result;
}

}  // namespace carronade
