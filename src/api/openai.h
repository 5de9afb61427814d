// The OpenAI dialect's errors and its list of models, with vLLM's fields. No I/O, no threads. Source: OpenAI's API
// reference (errors, models); vLLM's OpenAI-compatible server.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace carronade {

// ---- Errors

int http_status(ErrorCode code);

// {"error":{"message","type","param","code"}}, `code` being the HTTP status as an integer.
std::string openai_error_body(const Error& error);
std::string openai_error_body(int status, std::string_view message, std::string_view param = {});
std::string openai_error_frame(const Error& error);  // in a stream

// ---- /v1/models

struct ServedModel {
  std::string id;    // one name of those it is served under
  std::string root;  // where its files come from
  int64_t created = 0;
  int max_model_len = 0;               // 0: not known before it is loaded
  std::string parent{};                // of an adapter: the first name of its base model
  int adapter = -1;                    // its number, or -1: the model itself
  size_t model = 0;                    // its number, or its base model's
  std::string_view status = "loaded";  // unloaded, loading, loaded, unloading
};
std::string models_body(const std::vector<ServedModel>& models);
std::string model_body(const ServedModel& model);

}  // namespace carronade
