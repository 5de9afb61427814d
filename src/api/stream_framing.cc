#include "api/stream_framing.h"

#include <string_view>

#include <fmt/format.h>

#include "api/openai.h"
#include "api/openai_json.h"

namespace carronade {

namespace {

class EventFraming final : public StreamFraming {
 public:
  std::string chunk(const Json& json) override { return frame(json); }
  std::string error(const Error& error) override { return "data: " + openai_error_body(error) + "\n\n"; }
  std::string end(const ChatUsage&) override { return std::string(kDoneFrame); }
};

class MessageFraming final : public StreamFraming {
 public:
  explicit MessageFraming(const std::string& id) : id_(dump(id)) {}

  std::string chunk(const Json& json) override { return line("chunk", "chunk", dump(json)); }
  std::string error(const Error& error) override {
    return last("error", "error", dump(Json::parse(openai_error_body(error)).at("error")));
  }
  std::string end(const ChatUsage& usage) override { return last("done", "usage", dump(usage_json(usage))); }

 private:
  // JSON has no line ends of its own.
  std::string line(std::string_view type, std::string_view name, const std::string& json) const {
    if (ended_) return {};
    return fmt::format("{{\"type\":\"{}\",\"id\":{},\"{}\":{}}}\n", type, id_, name, json);
  }
  std::string last(std::string_view type, std::string_view name, const std::string& json) {
    std::string text = line(type, name, json);
    ended_ = true;
    return text;
  }

  std::string id_;  // as JSON
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<StreamFraming> make_event_framing() { return std::make_unique<EventFraming>(); }

std::unique_ptr<StreamFraming> make_message_framing(const std::string& id) {
  return std::make_unique<MessageFraming>(id);
}

}  // namespace carronade
