#include "api/openai.h"

#include <utility>

#include "api/openai_json.h"

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
    case 426:
      return "BadRequestError";
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

std::string openai_error_frame(const Error& error) { return "data: " + openai_error_body(error) + "\n\n"; }

std::string openai_error_body(int status, std::string_view message, std::string_view param) {
  return dump(error_json(status, message, param));
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
          {"max_model_len", model.max_model_len > 0 ? Json(model.max_model_len) : Json(nullptr)},
          {"status", {{"value", model.status}}},
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
