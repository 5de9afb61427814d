// Writing answers of chat completions.
#include <algorithm>
#include <utility>

#include "api/chat_completions.h"

namespace carronade {

namespace {

Json token_json(const TokenDetail& detail, bool as_id) {
  Json bytes = Json::array();
  for (const char byte : detail.bytes) bytes.push_back(static_cast<unsigned char>(byte));
  return {{"token", token_text(detail, as_id)}, {"logprob", detail.logprob}, {"bytes", std::move(bytes)}};
}

}  // namespace

ChatCompletionEncoder::ChatCompletionEncoder(const ChatCompletionCall& call, AnswerHead head, int prompt_tokens,
                                             std::unique_ptr<StreamFraming> framing, ShownPrompt prompt)
    : reply_(call.reply),
      include_reasoning_(call.include_reasoning),
      prompt_text_(call.prompt_text),
      role_(call.role),
      echo_(call.echo),
      logprobs_(call.request.sampling.logprobs),
      prompt_logprobs_(call.request.prompt_logprobs),
      head_(std::move(head)),
      prompt_tokens_(prompt_tokens),
      shown_(std::move(prompt)),
      answers_(static_cast<size_t>(call.reply.n)),
      framing_(std::move(framing)) {
  head_.id = "chatcmpl-" + head_.id;
}

Json ChatCompletionEncoder::logprobs_json(const std::vector<TokenDetail>& details) const {
  if (!logprobs_) return nullptr;
  Json content = Json::array();
  for (const auto& detail : details) {
    Json entry = token_json(detail, reply_.tokens_as_ids);
    Json top = Json::array();
    for (size_t i = 0; i < std::min(static_cast<size_t>(*logprobs_), detail.top.size()); ++i)
      top.push_back(token_json(detail.top[i], reply_.tokens_as_ids));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

Json ChatCompletionEncoder::chunk(int answer, Json delta, Json finish_reason) const {
  Json choice = {{"index", answer},
                 {"delta", std::move(delta)},
                 {"logprobs", nullptr},
                 {"finish_reason", std::move(finish_reason)}};
  Json result = head_.json("chat.completion.chunk");
  result["choices"] = Json::array({std::move(choice)});
  if (reply_.include_usage) result["usage"] = nullptr;
  return result;
}

std::string ChatCompletionEncoder::start_frames() {
  std::string frames;
  for (int i = 0; i < reply_.n; ++i) {
    Json first = chunk(i, {{"role", role_}, {"content", echo_}}, nullptr);
    if (i == 0) show_prompt(first);
    if (reply_.continuous_usage) first["usage"] = usage_json({prompt_tokens_, 0, 0, 0});
    frames += framing_->chunk(first);
  }
  return frames;
}

void ChatCompletionEncoder::show_prompt(Json& reply) const {
  if (reply_.token_ids) reply["prompt_token_ids"] = shown_.token_ids;
  if (prompt_text_) reply["prompt_text"] = shown_.text;
}

std::string ChatCompletionEncoder::delta_frame(int answer, Json delta, Json logprobs, int completion_tokens) {
  Json json = chunk(answer, std::move(delta), nullptr);
  json["choices"][0]["logprobs"] = std::move(logprobs);
  if (reply_.token_ids)
    json["choices"][0]["token_ids"] = std::exchange(answers_[static_cast<size_t>(answer)].token_ids, {});
  if (reply_.continuous_usage) json["usage"] = usage_json({prompt_tokens_, 0, completion_tokens, 0});
  return framing_->chunk(json);
}

std::string ChatCompletionEncoder::frames(int answer, const ChatEvent& event) {
  append_token_ids(event, answers_[static_cast<size_t>(answer)].token_ids);
  if (const auto* thought = std::get_if<ReasoningDelta>(&event)) {
    if (!include_reasoning_) return {};
    return delta_frame(answer, {{"reasoning", thought->text}, {"reasoning_content", thought->text}}, nullptr,
                       thought->completion_tokens);
  }
  if (const auto* text = std::get_if<AnswerDelta>(&event))
    return delta_frame(answer, {{"content", text->text}}, logprobs_json(text->tokens), text->completion_tokens);
  keep(answer, event);
  const auto* finished = std::get_if<ChatFinished>(&event);
  return finished ? finish_frame(answer, *finished) : std::string();
}

std::string ChatCompletionEncoder::finish_frame(int answer, const ChatFinished& finished) {
  if (finished.reason == FinishReason::kFailed) return framing_->error(error_of(finished));
  Json last = chunk(answer, Json::object(), openai_finish_reason(finished.reason));
  last["choices"][0]["stop_reason"] = stop_reason_json(finished);
  if (reply_.token_ids)
    last["choices"][0]["token_ids"] = std::exchange(answers_[static_cast<size_t>(answer)].token_ids, {});
  if (reply_.continuous_usage) last["usage"] = usage_json(finished.usage);
  return framing_->chunk(last);
}

std::string ChatCompletionEncoder::end_frames() {
  std::string result;
  const bool failed = std::ranges::any_of(
      answers_, [](const Answer& answer) { return answer.finished.reason == FinishReason::kFailed; });
  if (reply_.include_usage && !failed) {
    Json last = head_.json("chat.completion.chunk");
    last["choices"] = Json::array();
    last["usage"] = usage_json(usage());
    result = framing_->chunk(last);
  }
  return result + framing_->end(usage());
}

void ChatCompletionEncoder::collect(int answer, const ChatEvent& event) {
  append_token_ids(event, answers_[static_cast<size_t>(answer)].token_ids);
  keep(answer, event);
}

void ChatCompletionEncoder::keep(int answer, const ChatEvent& event) {
  Answer& own = answers_[static_cast<size_t>(answer)];
  if (const auto* thought = std::get_if<ReasoningDelta>(&event)) {
    own.reasoning += thought->text;
  } else if (const auto* text = std::get_if<AnswerDelta>(&event)) {
    own.text += text->text;
    own.details.insert(own.details.end(), text->tokens.begin(), text->tokens.end());
  } else if (const auto* prompt = std::get_if<PromptDetails>(&event)) {
    prompt_ = prompt->tokens;
  } else {
    own.finished = std::get<ChatFinished>(event);
  }
}

Json ChatCompletionEncoder::choice_json(int index, const Answer& answer) const {
  Json message = {{"role", role_}, {"content", echo_ + answer.text}, {"refusal", nullptr}};
  const Json reasoning = answer.reasoning.empty() || !include_reasoning_ ? Json(nullptr) : Json(answer.reasoning);
  message["reasoning"] = reasoning;
  message["reasoning_content"] = reasoning;
  Json choice = {{"index", index}, {"message", std::move(message)}};
  choice["logprobs"] = logprobs_json(answer.details);
  choice["finish_reason"] = openai_finish_reason(answer.finished.reason);
  choice["stop_reason"] = stop_reason_json(answer.finished);
  if (reply_.token_ids) choice["token_ids"] = answer.token_ids;
  return choice;
}

ChatUsage ChatCompletionEncoder::usage() const {
  std::vector<ChatUsage> usages;
  for (const Answer& answer : answers_) usages.push_back(answer.finished.usage);
  return total_usage(usages, reply_.n);
}

std::string ChatCompletionEncoder::body() const {
  Json result = head_.json("chat.completion");
  Json choices = Json::array();
  for (int i = 0; i < reply_.n; ++i) choices.push_back(choice_json(i, answers_[static_cast<size_t>(i)]));
  result["choices"] = std::move(choices);
  result["usage"] = usage_json(usage());
  show_prompt(result);
  if (prompt_logprobs_) result["prompt_logprobs"] = prompt_logprobs_json(prompt_, *prompt_logprobs_);
  return dump(result);
}

}  // namespace carronade
