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
  bool include_reasoning = true;   // false: the thought is not sent
  bool prompt_text = false;        // send what the template made of the messages
  std::string role = "assistant";  // of the answer
  std::string echo;                // comes before each answer
};

// What a reply may show of its prompt.
struct ShownPrompt {
  std::vector<TokenId> token_ids{};  // for return_token_ids
  std::string text{};                // for return_prompt_text
};

// Throws Error{kInvalidArgument} naming the field.
ChatCompletionCall parse_chat_completion(std::string_view body);
ChatCompletionCall read_chat_completion(const Json& body);  // the same

// What the prompt is made of: `messages`, and the fields beside it; the same errors.
PromptRequest read_prompt_request(const JsonFields& fields);

class ChatCompletionEncoder : public AnswerEncoder {
 public:
  // `head.id` without its prefix "chatcmpl-".
  ChatCompletionEncoder(const ChatCompletionCall& call, AnswerHead head, int prompt_tokens,
                        std::unique_ptr<StreamFraming> framing = make_event_framing(), ShownPrompt prompt = {});

  std::string start_frames() override;
  std::string frames(int answer, const ChatEvent& event) override;
  std::string end_frames() override;
  void collect(int answer, const ChatEvent& event) override;
  std::string body() const override;

 private:
  struct Answer {
    std::string text, reasoning;
    std::vector<TokenDetail> details;
    std::vector<TokenId> token_ids{};  // in a stream: of frames that are not sent
    ChatFinished finished;
  };
  Json chunk(int answer, Json delta, Json finish_reason) const;
  std::string delta_frame(int answer, Json delta, Json logprobs, int completion_tokens);
  std::string finish_frame(int answer, const ChatFinished& finished);
  void show_prompt(Json& reply) const;
  void keep(int answer, const ChatEvent& event);
  Json logprobs_json(const std::vector<TokenDetail>& details) const;
  Json choice_json(int index, const Answer& answer) const;
  ChatUsage usage() const;

  ReplyOptions reply_;
  bool include_reasoning_, prompt_text_;
  std::string role_, echo_;
  std::optional<int> logprobs_, prompt_logprobs_;
  AnswerHead head_;
  int prompt_tokens_;
  ShownPrompt shown_;
  std::vector<TokenDetail> prompt_;
  std::vector<Answer> answers_;
  std::unique_ptr<StreamFraming> framing_;
};

}  // namespace carronade
