// /v1/chat/completions: wire JSON ↔ typed requests and events. No I/O, no threads. Sources: OpenAI's API reference;
// vLLM's OpenAI-compatible server (protocol of chat completions).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/answer_encoder.h"
#include "api/openai_json.h"
#include "api/request_fields.h"
#include "api/stream_framing.h"

namespace carronade {

struct ChatCompletionCall {
  ChatRequest request;
  ReplyOptions reply;
  bool include_reasoning = true;  // false: the thought is not sent
};

// Throws Error{kInvalidArgument} naming the field.
ChatCompletionCall parse_chat_completion(std::string_view body);
ChatCompletionCall read_chat_completion(const Json& body);  // the same

// The messages of a request's `messages`; the same errors.
std::vector<ChatMessage> read_messages(const JsonFields& fields);

class ChatCompletionEncoder : public AnswerEncoder {
 public:
  // `head.id` without its prefix "chatcmpl-".
  ChatCompletionEncoder(const ChatCompletionCall& call, AnswerHead head, int prompt_tokens,
                        std::unique_ptr<StreamFraming> framing = make_event_framing());

  std::string start_frames() override;
  std::string frames(int answer, const ChatEvent& event) override;
  std::string end_frames() override;
  void collect(int answer, const ChatEvent& event) override;
  std::string body() const override;

 private:
  struct Answer {
    std::string text, reasoning;
    std::vector<TokenDetail> details;
    ChatFinished finished;
  };
  Json chunk(int answer, Json delta, Json finish_reason) const;
  std::string delta_frame(int answer, Json delta, Json logprobs, int completion_tokens) const;
  std::string finish_frame(int answer, const ChatFinished& finished) const;
  Json logprobs_json(const std::vector<TokenDetail>& details) const;
  Json choice_json(int index, const Answer& answer) const;
  ChatUsage usage() const;

  ReplyOptions reply_;
  bool include_reasoning_;
  std::optional<int> logprobs_, prompt_logprobs_;
  AnswerHead head_;
  int prompt_tokens_;
  std::vector<TokenDetail> prompt_;
  std::vector<Answer> answers_;
  std::unique_ptr<StreamFraming> framing_;
};

}  // namespace carronade
