#include "text/jinja/json.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "text/jinja/codepoints.h"
#include "text/jinja/format_value.h"
#include "text/jinja/operators.h"

namespace carronade::jinja {

namespace {

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const JsonStyle& style) : budget_(budget), style_(style) {}

  void write(const Value& value) {
    budget_.step();
    budget_.check_size(out_.size());
    switch (value.type()) {
      case Type::kNone:
        out_ += "null";
        break;
      case Type::kBool:
        out_ += value.as_bool() ? "true" : "false";
        break;
      case Type::kInt:
        out_ += std::to_string(value.as_int());
        break;
      case Type::kFloat:
        out_ += number(value.as_float());
        break;
      case Type::kString:
        text(value.as<String>().view());
        break;
      case Type::kList:
      case Type::kTuple:
        array(value.as<List>().items());
        break;
      case Type::kDict:
        object(value.as<Dict>());
        break;
      default:
        raise(std::string("Object of type ") + type_name(value) + " is not JSON serializable");
    }
  }

  std::string take() { return std::move(out_); }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return repr_float(value);
  }

  void text(std::string_view text) {
    budget_.step_bytes(text.size());
    out_ += '"';
    size_t plain = 0;  // where the part that needs no escape begins
    for (size_t i = 0; i < text.size();) {
      const auto c = static_cast<unsigned char>(text[i]);
      if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x7F || !style_.ascii)) {
        ++i;
        continue;
      }
      out_ += text.substr(plain, i - plain);
      escape(next_codepoint(text, i));
      plain = i;
    }
    out_ += text.substr(plain);
    out_ += '"';
  }

  void escape(char32_t c) {
    static constexpr std::string_view kPlain = "\"\\\n\r\t\f\b";
    static constexpr std::string_view kLetter = "\"\\nrtfb";
    const size_t i = c < 0x80 ? kPlain.find(static_cast<char>(c)) : std::string_view::npos;
    if (i != std::string_view::npos) {
      out_ += '\\';
      out_ += kLetter[i];
    } else if (c == 0x7F) {
      out_ += '\x7F';
    } else if (c < 0x10000) {
      out_ += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      const uint32_t rest = static_cast<uint32_t>(c) - 0x10000;
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 | rest >> 10, 0xDC00 | (rest & 0x3FF));
    }
  }

  void key(const Value& key) {
    switch (key.type()) {
      case Type::kString:
        text(key.as<String>().view());
        break;
      case Type::kNone:
      case Type::kBool:
      case Type::kInt:
      case Type::kFloat:
        out_ += '"';
        write(key);
        out_ += '"';
        break;
      default:
        raise(std::string("keys must be str, int, float, bool or None, not ") + type_name(key));
    }
  }

  // Between the items of an array or object; `close` is before its end.
  void separate(bool first, bool close) {
    if (!first && !close) out_ += style_.item_separator;
    if (!style_.multi_line) return;
    out_ += '\n';
    const size_t levels = level_ - (close ? 1 : 0);
    budget_.check_size(out_.size() + levels * style_.indent.size());
    for (size_t i = 0; i < levels; ++i) out_ += style_.indent;
  }

  void array(const std::vector<Value>& items) {
    if (items.empty()) {
      out_ += "[]";
      return;
    }
    const Nested nested(budget_);
    ++level_;
    out_ += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      separate(i == 0, false);
      write(items[i]);
    }
    separate(false, true);
    out_ += ']';
    --level_;
  }

  void object(const Dict& dict) {
    if (dict.entries().empty()) {
      out_ += "{}";
      return;
    }
    const Nested nested(budget_);
    ++level_;
    std::vector<const Dict::Entry*> entries;
    for (const auto& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto* a, const auto* b) { return less(budget_, a->first, b->first); });
    }
    out_ += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      separate(i == 0, false);
      key(entries[i]->first);
      out_ += style_.key_separator;
      write(entries[i]->second);
    }
    separate(false, true);
    out_ += '}';
    --level_;
  }

  Budget& budget_;
  const JsonStyle& style_;
  std::string out_;
  size_t level_ = 0;
};

}  // namespace

Value from_json(Budget& budget, const nlohmann::ordered_json& json) {
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case nlohmann::ordered_json::value_t::number_integer:
      return Value::integer(json.get<int64_t>());
    case nlohmann::ordered_json::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number > static_cast<uint64_t>(INT64_MAX)) return Value::real(static_cast<double>(number));
      return Value::integer(static_cast<int64_t>(number));
    }
    case nlohmann::ordered_json::value_t::number_float:
      return Value::real(json.get<double>());
    case nlohmann::ordered_json::value_t::string:
      return Value(new String(&budget, json.get_ref<const std::string&>()));
    case nlohmann::ordered_json::value_t::array: {
      const Nested nested(budget);
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(from_json(budget, item));
      return Value(new List(&budget, Type::kList, std::move(items)));
    }
    case nlohmann::ordered_json::value_t::object: {
      const Nested nested(budget);
      auto* dict = new Dict(&budget);
      Value result(dict);
      dict->reserve(json.size());
      for (const auto& [key, value] : json.items()) {
        dict->set(Value(new String(&budget, key)), from_json(budget, value));
      }
      return result;
    }
    default:
      return Value::none();
  }
}

std::string to_json(Budget& budget, const Value& value, const JsonStyle& style) {
  JsonWriter writer(budget, style);
  writer.write(value);
  return writer.take();
}

}  // namespace carronade::jinja
