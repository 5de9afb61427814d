// Pieces that OpenAI's bodies and frames are made of.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "api/json_fields.h"
#include "chat/generation_job.h"

namespace carronade {

// What was drawn may be cut anywhere, so that a token's own text need not be whole characters: they are replaced.
std::string dump(const Json& json);

// One server-sent event.
std::string frame(const Json& json);
inline constexpr std::string_view kDoneFrame = "data: [DONE]\n\n";

// What an answer failed by.
Error error_of(const ChatFinished& finished);
// The end of an answer that failed: an error in place of a chunk.
std::string error_frame(const ChatFinished& finished);

Json usage_json(const ChatUsage& usage);

// Of n answers to each prompt, in order. A prompt counts once.
ChatUsage total_usage(std::span<const ChatUsage> answers, int n);

// The ids that an event carries, to the end of `ids`.
void append_token_ids(const ChatEvent& event, std::vector<TokenId>& ids);

Json stop_reason_json(const ChatFinished& finished);
std::string openai_finish_reason(FinishReason reason);

// The text that stands for a token.
std::string token_text(const TokenDetail& detail, bool as_id);

// vLLM's list for a prompt: null for its first token, then {"ID": {"logprob", "rank", "decoded_token"}, …} with the
// token itself and the `k` most probable.
Json prompt_logprobs_json(const std::vector<TokenDetail>& prompt, int k);

// What all chunks and bodies of one request say alike.
struct AnswerHead {
  std::string model, id;
  int64_t created = 0;  // seconds since 1970

  Json json(std::string_view object) const {
    return {{"id", id}, {"object", object}, {"created", created}, {"model", model}};
  }
};

}  // namespace carronade
