#include "api/stream_messages.h"

#include "api/json_fields.h"
#include "api/openai_json.h"

namespace carronade {

namespace {

constexpr size_t kLongestId = 64;

std::string read_id(const JsonFields& fields) {
  const auto id = fields.string("id");
  if (!id) return {};
  if (id->empty() || id->size() > kLongestId) {
    fields.fail("id", "must be a string of 1 to " + std::to_string(kLongestId) + " bytes");
  }
  return *id;
}

void check_control_fields(const Json& json, const JsonFields& fields, const std::string& type) {
  for (const auto& [name, value] : json.items()) {
    if (name != "type" && name != "id") fields.fail(shown_name(name), "means nothing in a message of type " + type);
  }
}

ChatCompletionCall read_request(Json& json) {
  const JsonFields fields(json);
  if (!fields.boolean("stream").value_or(true)) {
    fields.fail("stream", "must be true, or left out: the answer comes in chunks here");
  }
  json.erase("type");
  json.erase("id");
  json["stream"] = true;
  return read_chat_completion(json);
}

}  // namespace

StreamMessage parse_stream_message(std::string_view text) {
  StreamMessage message;
  try {
    Json json = parse_json_object(text, "the message");
    const JsonFields fields(json);
    message.id = read_id(fields);
    const std::string type = fields.string("type").value_or("request");
    if (type == "request") {
      message.what = read_request(json);
    } else if (type == "cancel" || type == "answer_now") {
      check_control_fields(json, fields, type);
      if (type == "cancel") {
        message.what = CancelAnswer{};
      } else {
        message.what = AnswerNow{};
      }
    } else {
      fields.fail("type", "must be request, cancel or answer_now, not \"" + shown_name(type) + "\"");
    }
  } catch (const Error& error) {
    message.what = error;
  }
  return message;
}

std::string stream_error_message(std::string_view id, std::string_view error_body, std::optional<int> retry_after) {
  Json message = {{"type", "error"}, {"id", id.empty() ? Json(nullptr) : Json(id)}};
  message["error"] = Json::parse(error_body).at("error");
  if (retry_after) message["retry_after"] = *retry_after;
  return dump(message);
}

}  // namespace carronade
