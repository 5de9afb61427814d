// The log's two formats, text for people and JSON for collectors, and events that have fields.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "base/log.h"

namespace carronade {

enum class LogFormat { kText, kJson };

// "text" or "json". Throws Error{kInvalidArgument} for another name.
LogFormat parse_log_format(const std::string& name);

// As set_up_logging(level), in this format.
void set_up_logging(const std::string& level, LogFormat format);

// What a sink of one's own formats events with.
std::unique_ptr<spdlog::formatter> make_log_formatter(LogFormat format);

// An event with fields: as text "message name=value name=value", as JSON members of the line's object.
struct LogField {
  std::string_view name;  // a word
  std::variant<std::string_view, int64_t, double> value;
};
void log_event(spdlog::level::level_enum level, std::string_view message, std::initializer_list<LogField> fields);

}  // namespace carronade
