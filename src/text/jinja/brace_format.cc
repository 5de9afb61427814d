#include "text/jinja/brace_format.h"

#include "text/jinja/format_spec.h"
#include "text/jinja/format_value.h"
#include "text/jinja/unicode.h"

namespace carronade::jinja {

namespace {

constexpr int kMaxFieldNesting = 2;  // as in string.Formatter: a field, and fields in its format

class BraceFormatter {
 public:
  BraceFormatter(Interpreter& interpreter, Arguments& arguments) : interpreter_(interpreter), arguments_(arguments) {}

  std::string run(std::string_view format, int nesting) {
    if (nesting > kMaxFieldNesting) raise("Max string recursion exceeded");
    std::string result;
    for (size_t i = 0; i < format.size();) {
      interpreter_.budget().step();
      interpreter_.budget().check_size(result.size());
      const char c = format[i];
      if (c != '{' && c != '}') {
        const size_t next = std::min(format.find_first_of("{}", i), format.size());
        result += format.substr(i, next - i);
        i = next;
        continue;
      }
      if (i + 1 < format.size() && format[i + 1] == c) {
        result += c;
        i += 2;
        continue;
      }
      if (c == '}') raise("Single '}' encountered in format string");
      if (i + 1 >= format.size()) raise("Single '{' encountered in format string");
      const size_t end = field_end(format, i + 1);
      result += field(format.substr(i + 1, end - i - 1), nesting);
      i = end + 1;
    }
    return result;
  }

 private:
  // The brace that closes a field; those of nested fields and those within brackets do not.
  static size_t field_end(std::string_view format, size_t i) {
    int depth = 1;
    bool brackets = false;
    bool in_name = true;
    for (; i < format.size(); ++i) {
      const char c = format[i];
      if (c == '[' && in_name) brackets = true;
      if (c == ']') brackets = false;
      if ((c == '!' || c == ':') && !brackets) in_name = false;
      if (brackets) continue;
      if (c == '{') ++depth;
      if (c == '}' && --depth == 0) return i;
    }
    raise("expected '}' before end of string");
  }

  std::string field(std::string_view field, int nesting) {
    size_t name_end = 0;
    for (bool brackets = false; name_end < field.size(); ++name_end) {
      const char c = field[name_end];
      if (c == '[') brackets = true;
      if (c == ']') brackets = false;
      if (c == '{' && !brackets) raise("unexpected '{' in field name");
      if ((c == '!' || c == ':') && !brackets) break;
    }
    std::string_view rest = field.substr(name_end);
    char conversion = 0;
    if (rest.starts_with('!')) {
      if (rest.size() < 2) raise("end of string while looking for conversion specifier");
      conversion = rest[1];
      if (rest.size() > 2 && rest[2] != ':') raise("expected ':' after conversion specifier");
      rest.remove_prefix(2);
    }
    if (rest.starts_with(':')) rest.remove_prefix(1);
    Value value = look_up(field.substr(0, name_end));
    if (conversion) value = convert(value, conversion);
    const std::string spec = run(rest, nesting + 1);
    return format_with_spec(interpreter_.budget(), value, spec);
  }

  Value convert(const Value& value, char conversion) {
    switch (conversion) {
      case 's':
        return interpreter_.text(str(value));
      case 'r':
        return interpreter_.text(repr(value));
      case 'a':
        return interpreter_.text(ascii_repr(value));
      default:
        raise(std::string("Unknown conversion specifier '") + conversion + "'");
    }
  }

  Value look_up(std::string_view name) {
    const size_t first_end = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, first_end));
    std::string_view rest = name.substr(first_end);
    while (!rest.empty()) {
      if (rest[0] == '.') {
        const size_t end = std::min(rest.find_first_of(".[", 1), rest.size());
        if (end == 1) raise("Empty attribute in format string");
        value = interpreter_.get_attribute(value, interpreter_.text(std::string(rest.substr(1, end - 1))));
        rest.remove_prefix(end);
        continue;
      }
      const size_t end = rest.find(']');
      if (end == std::string_view::npos) raise("Missing ']' in format string");
      if (end == 1) raise("Empty attribute in format string");
      const std::string_view key = rest.substr(1, end - 1);
      const auto index = parse_index(key);
      value = interpreter_.get_item(value, index ? Value::integer(*index) : interpreter_.text(std::string(key)));
      rest.remove_prefix(end + 1);
      if (!rest.empty() && rest[0] != '.' && rest[0] != '[') {
        raise("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  static std::optional<int64_t> parse_index(std::string_view text) {
    if (text.empty() || text.size() > 18) return std::nullopt;
    int64_t value = 0;
    for (char c : text) {
      if (c < '0' || c > '9') return std::nullopt;
      value = value * 10 + (c - '0');
    }
    return value;
  }

  Value argument(std::string_view name) {
    std::optional<int64_t> index = parse_index(name);
    if (name.empty()) {
      if (numbered_) raise("cannot switch from manual field specification to automatic field numbering");
      index = automatic_++;
      counted_ = true;
    } else if (index) {
      if (counted_) raise("cannot switch from manual field specification to automatic field numbering");
      numbered_ = true;
    }
    if (index) {
      if (*index >= static_cast<int64_t>(arguments_.positional.size())) {
        raise("Replacement index " + std::to_string(*index) + " out of range for positional args tuple");
      }
      return arguments_.positional[static_cast<size_t>(*index)];
    }
    for (const auto& [key, value] : arguments_.keyword) {
      if (key == name) return value;
    }
    raise(repr_text(name));  // a KeyError's message
  }

  Interpreter& interpreter_;
  Arguments& arguments_;
  int64_t automatic_ = 0;
  bool counted_ = false;
  bool numbered_ = false;
};

}  // namespace

Value format_braces(Interpreter& interpreter, const String& format, Arguments& arguments) {
  interpreter.budget().step_bytes(format.view().size());
  return interpreter.text(BraceFormatter(interpreter, arguments).run(format.view(), 1), format.markup());
}

}  // namespace carronade::jinja
