// JSON in and out: the context of a rendering, and `tojson` (Python's json.dumps).
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "text/jinja/value.h"

namespace carronade::jinja {

Value from_json(Budget& budget, const nlohmann::ordered_json& json);

struct JsonStyle {
  bool ascii = false;
  bool sort_keys = false;
  bool multi_line = false;
  std::string indent;  // one level's; where multi_line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
std::string to_json(Budget& budget, const Value& value, const JsonStyle& style);

}  // namespace carronade::jinja
