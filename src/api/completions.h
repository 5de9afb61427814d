// /v1/completions: text on from a text, without a chat's template. No I/O, no threads. Sources: OpenAI's API reference
// (legacy completions); vLLM's OpenAI-compatible server (protocol of completions).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/answer_encoder.h"
#include "api/openai_json.h"
#include "api/request_fields.h"
#include "chat/text_prompt.h"

namespace carronade {

struct CompletionCall {
  GenerationOptions options;
  ReplyOptions reply;
  std::vector<TextPrompt> prompts;  // each gets reply.n answers; answer a is number a % n of prompt a / n
  bool echo = false;                // the prompt comes first in each text
  bool only_prompt = false;         // max_tokens 0: the one token that is drawn is not sent
};

// Throws Error{kInvalidArgument} naming the field.
CompletionCall parse_completion(std::string_view body);

class CompletionEncoder : public AnswerEncoder {
 public:
  struct EchoedPrompt {
    std::string text;
    std::vector<TokenId> tokens;
    std::string first_token;  // its bytes
  };

  // `head.id` without its prefix "cmpl-"; a prompt for each of the call's.
  CompletionEncoder(const CompletionCall& call, AnswerHead head, std::vector<EchoedPrompt> prompts);

  std::string start_frames() override { return {}; }
  std::string frames(int answer, const ChatEvent& event) override;
  std::string end_frames() override;
  void collect(int answer, const ChatEvent& event) override;
  std::string body() const override;

 private:
  struct Answer {
    std::string text;
    std::vector<TokenDetail> details;
    std::vector<TokenId> token_ids;  // in a stream: not sent yet
    ChatFinished finished;
    size_t sent = 0;             // characters of text in frames before
    bool has_begun = false;      // a frame was sent
    bool has_shown_ids = false;  // of its prompt
  };
  const EchoedPrompt& prompt_of(int answer) const;
  std::string text_frame(int answer, std::string text, const std::vector<TokenDetail>& tokens, int completion_tokens);
  std::vector<TokenDetail> echoed(int answer) const;
  Json chunk(int answer, std::string text, Json logprobs, Json finish_reason);
  void keep(int answer, const ChatEvent& event);
  Json logprobs_json(const std::vector<TokenDetail>& details, size_t offset) const;
  Json choice_json(int answer) const;
  ChatUsage usage() const;

  ReplyOptions reply_;
  bool echo_, only_prompt_;
  std::optional<int> logprobs_, prompt_logprobs_;
  AnswerHead head_;
  std::vector<EchoedPrompt> prompts_;
  std::vector<std::vector<TokenDetail>> prompt_details_;
  std::vector<Answer> answers_;
};

}  // namespace carronade
