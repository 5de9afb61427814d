#include "api/openai.h"

#include <algorithm>
#include <utility>

namespace carronade {

namespace {

std::string_view error_type(int status) {
  switch (status) {
    case 400:
      return "BadRequestError";
    case 401:
      return "AuthenticationError";
    case 403:
      return "PermissionDeniedError";
    case 404:
      return "NotFoundError";
    case 405:
      return "MethodNotAllowedError";
    case 408:
      return "RequestTimeoutError";
    case 413:
      return "RequestEntityTooLargeError";
    case 415:
      return "UnsupportedMediaTypeError";
    case 429:
      return "RateLimitError";
    case 431:
      return "RequestHeaderFieldsTooLargeError";
    case 499:
      return "RequestCancelledError";
    case 503:
      return "ServiceUnavailableError";
    default:
      return "InternalServerError";
  }
}

Json error_json(int status, std::string_view message, std::string_view param) {
  return {{"error",
           {{"message", message},
            {"type", error_type(status)},
            {"param", param.empty() ? Json(nullptr) : Json(param)},
            {"code", status}}}};
}

// What was drawn may be cut anywhere, so that a token's own text need not be whole characters.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string frame(const Json& json) { return "data: " + dump(json) + "\n\n"; }

Json usage_json(const ChatUsage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"completion_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}}};
}

Json token_json(const TokenDetail& detail) {
  Json bytes = Json::array();
  for (const char byte : detail.bytes) bytes.push_back(static_cast<unsigned char>(byte));
  return {{"token", detail.bytes}, {"logprob", detail.logprob}, {"bytes", std::move(bytes)}};
}

Json logprobs_json(const std::vector<TokenDetail>& details, size_t top_logprobs) {
  Json content = Json::array();
  for (const auto& detail : details) {
    Json entry = token_json(detail);
    Json top = Json::array();
    for (size_t i = 0; i < std::min(top_logprobs, detail.top.size()); ++i) top.push_back(token_json(detail.top[i]));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

Json stop_reason_json(const ChatFinished& finished) {
  if (finished.stop_string) return *finished.stop_string;
  if (finished.stop_token) return *finished.stop_token;
  return nullptr;
}

}  // namespace

int http_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kUnsupported:
    case ErrorCode::kTooLarge:
      return 400;
    case ErrorCode::kUnauthorized:
      return 401;
    case ErrorCode::kForbidden:
      return 403;
    case ErrorCode::kNotFound:
      return 404;
    case ErrorCode::kRateLimited:
      return 429;
    case ErrorCode::kUnavailable:
      return 503;
    case ErrorCode::kCancelled:
      return 499;
    case ErrorCode::kCorruptFile:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return 500;
  }
  return 500;
}

std::string openai_error_body(const Error& error) {
  return openai_error_body(http_status(error.code), error.what(), error.param);
}

std::string openai_error_body(int status, std::string_view message, std::string_view param) {
  return dump(error_json(status, message, param));
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

ChatCompletionEncoder::ChatCompletionEncoder(const ChatCompletionCall& call, std::string model, std::string id,
                                             int64_t created, int prompt_tokens)
    : include_usage_(call.include_usage),
      continuous_usage_(call.continuous_usage),
      include_reasoning_(call.include_reasoning),
      wants_logprobs_(call.request.sampling.logprobs.has_value()),
      top_logprobs_(static_cast<size_t>(call.request.sampling.logprobs.value_or(0))),
      model_(std::move(model)),
      id_("chatcmpl-" + std::move(id)),
      created_(created),
      prompt_tokens_(prompt_tokens) {}

Json ChatCompletionEncoder::chunk(Json delta, Json finish_reason) const {
  Json choice = {
      {"index", 0}, {"delta", std::move(delta)}, {"logprobs", nullptr}, {"finish_reason", std::move(finish_reason)}};
  Json result = {{"id", id_}, {"object", "chat.completion.chunk"}, {"created", created_}, {"model", model_}};
  result["choices"] = Json::array({std::move(choice)});
  if (include_usage_) result["usage"] = nullptr;
  return result;
}

std::string ChatCompletionEncoder::start_frames() {
  return delta_frame({{"role", "assistant"}, {"content", ""}}, nullptr, 0);
}

std::string ChatCompletionEncoder::delta_frame(Json delta, Json logprobs, int completion_tokens) const {
  Json json = chunk(std::move(delta), nullptr);
  json["choices"][0]["logprobs"] = std::move(logprobs);
  if (continuous_usage_) json["usage"] = usage_json({prompt_tokens_, 0, completion_tokens, 0});
  return frame(json);
}

std::string ChatCompletionEncoder::frames(const ChatEvent& event) {
  if (const auto* thought = std::get_if<ReasoningDelta>(&event)) {
    if (!include_reasoning_) return {};
    return delta_frame({{"reasoning", thought->text}, {"reasoning_content", thought->text}}, nullptr,
                       thought->completion_tokens);
  }
  if (const auto* answer = std::get_if<AnswerDelta>(&event)) {
    Json logprobs = wants_logprobs_ ? logprobs_json(answer->tokens, top_logprobs_) : Json(nullptr);
    return delta_frame({{"content", answer->text}}, std::move(logprobs), answer->completion_tokens);
  }
  return finish_frames(std::get<ChatFinished>(event));
}

std::string ChatCompletionEncoder::finish_frames(const ChatFinished& finished) const {
  static constexpr std::string_view kDone = "data: [DONE]\n\n";
  std::string result;
  if (finished.reason == FinishReason::kFailed) {
    const Error error = finished.error.value_or(Error(ErrorCode::kInternal, "the model failed while answering"));
    result = frame(error_json(http_status(error.code), error.what(), error.param));
    return result.append(kDone);
  }
  Json last = chunk(Json::object(), openai_finish_reason(finished.reason));
  last["choices"][0]["stop_reason"] = stop_reason_json(finished);
  if (continuous_usage_) last["usage"] = usage_json(finished.usage);
  result = frame(last);
  if (include_usage_) {
    Json usage = chunk(Json::object(), nullptr);
    usage["choices"] = Json::array();
    usage["usage"] = usage_json(finished.usage);
    result += frame(usage);
  }
  return result.append(kDone);
}

void ChatCompletionEncoder::collect(const ChatEvent& event) {
  if (const auto* thought = std::get_if<ReasoningDelta>(&event)) {
    reasoning_ += thought->text;
  } else if (const auto* answer = std::get_if<AnswerDelta>(&event)) {
    answer_ += answer->text;
    details_.insert(details_.end(), answer->tokens.begin(), answer->tokens.end());
  } else {
    finished_ = std::get<ChatFinished>(event);
  }
}

std::string ChatCompletionEncoder::body() const {
  Json message = {{"role", "assistant"}, {"content", answer_}, {"refusal", nullptr}};
  const Json reasoning = reasoning_.empty() || !include_reasoning_ ? Json(nullptr) : Json(reasoning_);
  message["reasoning"] = reasoning;
  message["reasoning_content"] = reasoning;
  Json choice = {{"index", 0}, {"message", std::move(message)}};
  choice["logprobs"] = wants_logprobs_ ? logprobs_json(details_, top_logprobs_) : Json(nullptr);
  choice["finish_reason"] = openai_finish_reason(finished_.reason);
  choice["stop_reason"] = stop_reason_json(finished_);
  Json result = {{"id", id_}, {"object", "chat.completion"}, {"created", created_}, {"model", model_}};
  result["choices"] = Json::array({std::move(choice)});
  result["usage"] = usage_json(finished_.usage);
  return dump(result);
}

namespace {

Json model_json(const ServedModel& model) {
  const Json permission = {{"id", "modelperm-" + model.id},
                           {"object", "model_permission"},
                           {"created", model.created},
                           {"allow_create_engine", false},
                           {"allow_sampling", true},
                           {"allow_logprobs", true},
                           {"allow_search_indices", false},
                           {"allow_view", true},
                           {"allow_fine_tuning", false},
                           {"organization", "*"},
                           {"group", nullptr},
                           {"is_blocking", false}};
  return {{"id", model.id},
          {"object", "model"},
          {"created", model.created},
          {"owned_by", "carronade"},
          {"root", model.root},
          {"parent", model.parent.empty() ? Json(nullptr) : Json(model.parent)},
          {"max_model_len", model.max_model_len},
          {"permission", Json::array({permission})}};
}

}  // namespace

std::string models_body(const std::vector<ServedModel>& models) {
  Json data = Json::array();
  for (const auto& model : models) data.push_back(model_json(model));
  return dump({{"object", "list"}, {"data", std::move(data)}});
}

std::string model_body(const ServedModel& model) { return dump(model_json(model)); }

}  // namespace carronade
