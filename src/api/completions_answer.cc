// Writing answers of completions.
#include <algorithm>
#include <utility>

#include "api/completions.h"

namespace carronade {

namespace {

// Clients count characters, not bytes; a token may hold a part of one.
size_t characters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char byte) { return (byte & 0xC0) != 0x80; }));
}

}  // namespace

CompletionEncoder::CompletionEncoder(const CompletionCall& call, AnswerHead head, std::vector<EchoedPrompt> prompts)
    : reply_(call.reply),
      echo_(call.echo),
      only_prompt_(call.only_prompt),
      logprobs_(call.options.sampling.logprobs),
      prompt_logprobs_(call.options.prompt_logprobs),
      head_(std::move(head)),
      prompts_(std::move(prompts)),
      prompt_details_(prompts_.size()),
      answers_(prompts_.size() * static_cast<size_t>(call.reply.n)) {
  head_.id = "cmpl-" + head_.id;
}

const CompletionEncoder::EchoedPrompt& CompletionEncoder::prompt_of(int answer) const {
  return prompts_[static_cast<size_t>(answer / reply_.n)];
}

// Lists beside each other, one place a token. `offset`: of the first token in the text, in characters.
Json CompletionEncoder::logprobs_json(const std::vector<TokenDetail>& details, size_t offset) const {
  if (!logprobs_) return nullptr;
  Json offsets = Json::array(), logprobs = Json::array(), tokens = Json::array(), tops = Json::array();
  for (const TokenDetail& detail : details) {
    const bool is_rated = detail.rank > 0;
    offsets.push_back(offset);
    offset += characters(detail.bytes);
    tokens.push_back(token_text(detail, reply_.tokens_as_ids));
    logprobs.push_back(is_rated ? Json(detail.logprob) : Json(nullptr));
    Json top = Json::object();
    for (size_t i = 0; i < std::min(static_cast<size_t>(*logprobs_), detail.top.size()); ++i)
      top[token_text(detail.top[i], reply_.tokens_as_ids)] = detail.top[i].logprob;
    if (is_rated) top[tokens.back().get<std::string>()] = detail.logprob;
    tops.push_back(is_rated ? std::move(top) : Json(nullptr));
  }
  return {{"text_offset", std::move(offsets)},
          {"token_logprobs", std::move(logprobs)},
          {"tokens", std::move(tokens)},
          {"top_logprobs", std::move(tops)}};
}

Json CompletionEncoder::chunk(int answer, std::string text, Json logprobs, Json finish_reason) {
  Json choice = {{"index", answer},
                 {"text", std::move(text)},
                 {"logprobs", std::move(logprobs)},
                 {"finish_reason", std::move(finish_reason)}};
  if (reply_.token_ids) {
    Answer& own = answers_[static_cast<size_t>(answer)];
    if (!std::exchange(own.has_shown_ids, true)) choice["prompt_token_ids"] = prompt_of(answer).tokens;
    choice["token_ids"] = std::exchange(own.token_ids, {});
  }
  Json result = head_.json("text_completion");
  result["choices"] = Json::array({std::move(choice)});
  if (reply_.include_usage) result["usage"] = nullptr;
  return result;
}

std::string CompletionEncoder::text_frame(int answer, std::string text, const std::vector<TokenDetail>& tokens,
                                          int completion_tokens) {
  Answer& own = answers_[static_cast<size_t>(answer)];
  if (echo_ && !std::exchange(own.has_begun, true)) {
    own.sent += characters(prompt_of(answer).text);
    text.insert(0, prompt_of(answer).text);
  }
  if (text.empty()) return {};
  Json json = chunk(answer, text, logprobs_json(tokens, own.sent), nullptr);
  for (const TokenDetail& token : tokens) own.sent += characters(token.bytes);
  if (reply_.continuous_usage) {
    json["usage"] = usage_json({static_cast<int>(prompt_of(answer).tokens.size()), 0, completion_tokens, 0});
  }
  return frame(json);
}

std::string CompletionEncoder::frames(int answer, const ChatEvent& event) {
  if (!only_prompt_) append_token_ids(event, answers_[static_cast<size_t>(answer)].token_ids);
  if (const auto* delta = std::get_if<AnswerDelta>(&event)) {
    if (only_prompt_) return text_frame(answer, {}, {}, 0);
    return text_frame(answer, delta->text, delta->tokens, delta->completion_tokens);
  }
  keep(answer, event);
  const auto* finished = std::get_if<ChatFinished>(&event);
  if (!finished) return {};
  if (finished->reason == FinishReason::kFailed) return error_frame(*finished);
  std::string result = text_frame(answer, {}, {}, 0);  // a prompt to echo, where no text has come
  Json last = chunk(answer, "", nullptr, openai_finish_reason(finished->reason));
  last["choices"][0]["stop_reason"] = stop_reason_json(*finished);
  if (reply_.continuous_usage) last["usage"] = usage_json(answers_[static_cast<size_t>(answer)].finished.usage);
  return result += frame(last);
}

std::string CompletionEncoder::end_frames() {
  std::string result;
  const bool failed = std::ranges::any_of(
      answers_, [](const Answer& answer) { return answer.finished.reason == FinishReason::kFailed; });
  if (reply_.include_usage && !failed) {
    Json last = head_.json("text_completion");
    last["choices"] = Json::array();
    last["usage"] = usage_json(usage());
    result = frame(last);
  }
  return result.append(kDoneFrame);
}

void CompletionEncoder::collect(int answer, const ChatEvent& event) {
  if (!only_prompt_) append_token_ids(event, answers_[static_cast<size_t>(answer)].token_ids);
  keep(answer, event);
}

void CompletionEncoder::keep(int answer, const ChatEvent& event) {
  Answer& own = answers_[static_cast<size_t>(answer)];
  if (const auto* delta = std::get_if<AnswerDelta>(&event)) {
    if (only_prompt_) return;
    own.text += delta->text;
    own.details.insert(own.details.end(), delta->tokens.begin(), delta->tokens.end());
  } else if (const auto* prompt = std::get_if<PromptDetails>(&event)) {
    prompt_details_[static_cast<size_t>(answer / reply_.n)] = prompt->tokens;
  } else if (const auto* finished = std::get_if<ChatFinished>(&event)) {
    own.finished = *finished;
    if (!only_prompt_ || finished->reason == FinishReason::kFailed) return;
    own.finished.usage.completion_tokens = 0;
    own.finished.reason = FinishReason::kLength;
  }
}

// The prompt's tokens as those of the text: nothing rates the first.
std::vector<TokenDetail> CompletionEncoder::echoed(int answer) const {
  const EchoedPrompt& prompt = prompt_of(answer);
  std::vector<TokenDetail> tokens(1);
  tokens[0].token = prompt.tokens.front();
  tokens[0].bytes = prompt.first_token;
  const auto& rated = prompt_details_[static_cast<size_t>(answer / reply_.n)];
  tokens.insert(tokens.end(), rated.begin(), rated.end());
  return tokens;
}

Json CompletionEncoder::choice_json(int answer) const {
  const Answer& own = answers_[static_cast<size_t>(answer)];
  std::vector<TokenDetail> details;
  if (echo_ && logprobs_) details = echoed(answer);
  details.insert(details.end(), own.details.begin(), own.details.end());
  Json choice = {{"index", answer},
                 {"text", (echo_ ? prompt_of(answer).text : std::string()) + own.text},
                 {"logprobs", logprobs_json(details, 0)},
                 {"finish_reason", openai_finish_reason(own.finished.reason)},
                 {"stop_reason", stop_reason_json(own.finished)}};
  if (reply_.token_ids) {
    choice["prompt_token_ids"] = prompt_of(answer).tokens;
    choice["token_ids"] = own.token_ids;
  }
  choice["prompt_logprobs"] =
      prompt_logprobs_
          ? prompt_logprobs_json(prompt_details_[static_cast<size_t>(answer / reply_.n)], *prompt_logprobs_)
          : Json(nullptr);
  return choice;
}

ChatUsage CompletionEncoder::usage() const {
  std::vector<ChatUsage> usages;
  for (const Answer& answer : answers_) usages.push_back(answer.finished.usage);
  return total_usage(usages, reply_.n);
}

std::string CompletionEncoder::body() const {
  Json result = head_.json("text_completion");
  Json choices = Json::array();
  for (int i = 0; i < static_cast<int>(answers_.size()); ++i) choices.push_back(choice_json(i));
  result["choices"] = std::move(choices);
  result["usage"] = usage_json(usage());
  return dump(result);
}

}  // namespace carronade
