#include "base/structured_log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace carronade {

namespace {

// Stands between a message and its fields, which are JSON members already.
constexpr char kFieldsFollow = '\x1e';

using Json = nlohmann::ordered_json;

// Bytes that are not UTF-8 must not cost the line.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

struct Payload {
  std::string_view message, members;
};

Payload parts_of(const spdlog::details::log_msg& event) {
  const std::string_view payload(event.payload.data(), event.payload.size());
  const size_t at = payload.find(kFieldsFollow);
  if (at == payload.npos) return {payload, {}};
  const std::string_view members = payload.substr(at + 1);
  // The mark may have come from outside, in another event's message.
  if (!Json::accept(fmt::format("{{{}}}", members))) return {payload, {}};
  return {payload.substr(0, at), members};
}

// Without what could forge another line or colour a terminal.
std::string without_control_characters(std::string_view text) {
  std::string result(text);
  std::ranges::replace_if(
      result, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return result;
}

// The "%*" of the text pattern.
class TextPayload final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& event, const std::tm&, spdlog::memory_buf_t& out) override {
    const Payload payload = parts_of(event);
    std::string text = without_control_characters(payload.message);
    if (!payload.members.empty()) {
      const Json fields = Json::parse(fmt::format("{{{}}}", payload.members));
      for (const auto& [name, value] : fields.items()) {
        const std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
        const bool quoted = shown.empty() || std::ranges::any_of(shown, [](char c) {
                              return static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '=' || c == 0x7f;
                            });
        text += fmt::format(" {}={}", name, quoted ? dump(value) : shown);
      }
    }
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<TextPayload>(); }
};

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& event, spdlog::memory_buf_t& out) override {
    const Payload payload = parts_of(event);
    const auto milliseconds =
        std::chrono::duration_cast<std::chrono::milliseconds>(event.time.time_since_epoch()).count();
    const std::time_t seconds = milliseconds / 1000;
    std::tm utc{};
    ::gmtime_r(&seconds, &utc);
    char time[32];
    const size_t size = std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
    const auto level = spdlog::level::to_string_view(event.level);
    const std::string line =
        fmt::format("{{\"time\":\"{}.{:03}Z\",\"level\":\"{}\",\"message\":{}{}{}}}\n", std::string_view(time, size),
                    milliseconds % 1000, std::string_view(level.data(), level.size()), dump(Json(payload.message)),
                    payload.members.empty() ? "" : ",", payload.members);
    out.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }
};

}  // namespace

LogFormat parse_log_format(const std::string& name) {
  if (name == "text") return LogFormat::kText;
  if (name == "json") return LogFormat::kJson;
  throw Error(ErrorCode::kInvalidArgument, "unknown log format " + name + "; use text or json", "--log-format");
}

std::unique_ptr<spdlog::formatter> make_log_formatter(LogFormat format) {
  if (format == LogFormat::kJson) return std::make_unique<JsonFormatter>();
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<TextPayload>('*').set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %*");
  return formatter;
}

void set_up_logging(const std::string& level, LogFormat format) {
  const auto parsed = spdlog::level::from_str(level == "warning" ? "warn" : level);
  if (parsed == spdlog::level::off && level != "off") {
    throw Error(ErrorCode::kInvalidArgument, "unknown log level " + level + "; use debug, info, warn or error",
                "--log-level");
  }
  auto logger = spdlog::stderr_color_mt("carronade");
  logger->set_formatter(make_log_formatter(format));
  spdlog::set_default_logger(std::move(logger));
  spdlog::set_level(parsed);
}

void log_event(spdlog::level::level_enum level, std::string_view message, std::initializer_list<LogField> fields) {
  if (!spdlog::should_log(level)) return;
  std::string payload(message);
  for (const LogField& field : fields) {
    payload += &field == fields.begin() ? kFieldsFollow : ',';
    const Json value = std::visit([](const auto& any) { return Json(any); }, field.value);
    payload += fmt::format("\"{}\":{}", field.name, dump(value));
  }
  spdlog::log(level, spdlog::string_view_t(payload.data(), payload.size()));
}

}  // namespace carronade
