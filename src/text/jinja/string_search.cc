#include "text/jinja/string_search.h"

#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/format_value.h"
#include "text/jinja/operators.h"
#include "text/jinja/search.h"

namespace carronade::jinja {

namespace {

constexpr size_t kNone = std::string_view::npos;

std::string_view view_of(const Value& self) { return self.as<String>().view(); }

// The part of a text between the optional start and end arguments, which count characters.
struct Window {
  std::string_view text;
  size_t offset = 0;     // of the window, in bytes
  bool possible = true;  // false: it begins behind the end of the text, where not even "" is found
};

Window window(Interpreter& interpreter, const Value& self, const Arguments& arguments) {
  const auto& string = self.as<String>();
  interpreter.budget().step_bytes(string.view().size());
  const auto length = static_cast<int64_t>(string.length());
  const auto bound = [&](size_t i, int64_t fallback) {
    if (arguments.positional.size() <= i || arguments.positional[i].is_none()) return fallback;
    if (!arguments.positional[i].is_integral()) {
      raise("slice indices must be integers or None or have an __index__ method");
    }
    const int64_t value = arguments.positional[i].as_int();
    return value < 0 ? std::max<int64_t>(value + length, 0) : value;
  };
  const int64_t start = bound(1, 0);
  const int64_t end = std::min(bound(2, length), length);
  if (start > length || start > end) return {{}, 0, false};
  const auto byte = [&](int64_t character) {
    return string.ascii() ? static_cast<size_t>(character) : offset_of(string.view(), static_cast<size_t>(character));
  };
  const size_t from = byte(start);
  return {string.view().substr(from, byte(end) - from), from, true};
}

const String& needle(const Arguments& arguments, const char* function) {
  return require_string(arguments.positional[0], function);
}

int64_t character_index(const Value& self, size_t byte) {
  const auto& string = self.as<String>();
  return static_cast<int64_t>(string.ascii() ? byte : count_codepoints(string.view().substr(0, byte)));
}

int64_t find(Interpreter& interpreter, const Value& self, Arguments& arguments, bool last) {
  expect_positional("find", arguments, 1, 3);
  const String& wanted = needle(arguments, "find");
  const Window part = window(interpreter, self, arguments);
  if (!part.possible) return -1;
  const size_t found = last ? find_last_text(part.text, wanted.view()) : find_text(part.text, wanted.view(), 0);
  return found == kNone ? -1 : character_index(self, part.offset + found);
}

Value index_of(Interpreter& interpreter, const Value& self, Arguments& arguments, bool last) {
  const int64_t index = find(interpreter, self, arguments, last);
  if (index < 0) raise("substring not found");
  return Value::integer(index);
}

template <typename Matches>
Value match_any(Interpreter& interpreter, const Value& self, Arguments& arguments, const char* function,
                const Matches& matches) {
  expect_positional(function, arguments, 1, 3);
  const Value& wanted = arguments.positional[0];
  const Window part = window(interpreter, self, arguments);
  const auto test = [&](const Value& item) { return part.possible && matches(part.text, view_of(item)); };
  if (wanted.is_string()) return Value::boolean(test(wanted));
  if (!wanted.is(Type::kTuple)) {
    raise(std::string(function) + " first arg must be str or a tuple of str, not " + type_name(wanted));
  }
  for (const Value& item : wanted.as<List>().items()) {
    if (!item.is_string()) {
      raise("tuple for " + std::string(function) + " must only contain str, not " + type_name(item));
    }
    if (test(item)) return Value::boolean(true);
  }
  return Value::boolean(false);
}

Value partition(Interpreter& interpreter, const Value& self, Arguments& arguments, bool last) {
  expect_positional("partition", arguments, 1, 1);
  const std::string_view text = view_of(self);
  const std::string_view separator = require_string(arguments.positional[0], "partition").view();
  if (separator.empty()) raise("empty separator");
  interpreter.budget().step_bytes(text.size());
  const bool markup = self.as<String>().markup();
  const auto make = [&](std::string_view part) { return interpreter.text(std::string(part), markup); };
  const size_t found = last ? find_last_text(text, separator) : find_text(text, separator, 0);
  if (found == kNone) {
    return last ? interpreter.tuple({make(""), make(""), make(text)})
                : interpreter.tuple({make(text), make(""), make("")});
  }
  return interpreter.tuple({make(text.substr(0, found)), make(separator), make(text.substr(found + separator.size()))});
}

// At white space; runs of it count as one, and none remains at the ends.
std::vector<std::string_view> split_space(std::string_view text, int64_t limit, bool from_right) {
  std::vector<std::string_view> parts;
  std::string_view rest = strip_space(text, from_right ? Side::kRight : Side::kLeft);
  while (!rest.empty()) {
    if (limit >= 0 && static_cast<int64_t>(parts.size()) >= limit) {
      parts.push_back(strip_space(rest, from_right ? Side::kRight : Side::kLeft));
      break;
    }
    size_t border = from_right ? rest.size() : 0;
    while (from_right ? border > 0 : border < rest.size()) {
      size_t next = border;
      const char32_t c = from_right ? previous_codepoint(rest, next) : next_codepoint(rest, next);
      if (is_space(c)) break;
      border = next;
    }
    parts.push_back(from_right ? rest.substr(border) : rest.substr(0, border));
    rest =
        from_right ? strip_space(rest.substr(0, border), Side::kRight) : strip_space(rest.substr(border), Side::kLeft);
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator, int64_t limit,
                                       bool from_right) {
  std::vector<std::string_view> parts;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t found = from_right ? text.rfind(separator) : find_text(text, separator, 0);
    if (found == kNone) break;
    parts.push_back(from_right ? text.substr(found + separator.size()) : text.substr(0, found));
    text = from_right ? text.substr(0, found) : text.substr(found + separator.size());
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

Value list_of(Interpreter& interpreter, const std::vector<std::string_view>& parts, bool markup) {
  std::vector<Value> items;
  items.reserve(parts.size());
  interpreter.budget().step(parts.size());
  for (std::string_view part : parts) items.push_back(interpreter.text(std::string(part), markup));
  return interpreter.list(std::move(items));
}

Value split(Interpreter& interpreter, const Value& self, Arguments& arguments, bool from_right) {
  const auto [separator, most] = bind("split", arguments, {"sep", "maxsplit"});
  const int64_t limit = most.is_missing() ? -1 : require_int(most);
  const std::string_view text = view_of(self);
  const bool markup = self.as<String>().markup();
  interpreter.budget().step_bytes(text.size());
  if (separator.is_missing() || separator.is_none()) {
    return list_of(interpreter, split_space(text, limit, from_right), markup);
  }
  if (!separator.is_string()) raise(std::string("must be str or None, not ") + type_name(separator));
  if (view_of(separator).empty()) raise("empty separator");
  if (from_right) {
    // The search from the right is the naive one.
    interpreter.budget().step(text.size() / 64 * std::min<size_t>(view_of(separator).size(), 4096));
  }
  return list_of(interpreter, split_at(text, view_of(separator), limit, from_right), markup);
}

}  // namespace

Value string_count(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_positional("count", arguments, 1, 3);
  const std::string_view wanted = needle(arguments, "count").view();
  const Window part = window(interpreter, self, arguments);
  if (!part.possible) return Value::integer(0);
  if (wanted.empty()) return Value::integer(static_cast<int64_t>(count_codepoints(part.text)) + 1);
  int64_t count = 0;
  for (size_t i = find_text(part.text, wanted, 0); i != kNone; i = find_text(part.text, wanted, i + wanted.size())) {
    ++count;
  }
  return Value::integer(count);
}

Value string_find(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return Value::integer(find(interpreter, self, arguments, false));
}
Value string_find_last(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return Value::integer(find(interpreter, self, arguments, true));
}
Value string_index(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return index_of(interpreter, self, arguments, false);
}
Value string_index_last(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return index_of(interpreter, self, arguments, true);
}
Value string_starts_with(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return match_any(interpreter, self, arguments, "startswith",
                   [](std::string_view text, std::string_view item) { return text.starts_with(item); });
}
Value string_ends_with(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return match_any(interpreter, self, arguments, "endswith",
                   [](std::string_view text, std::string_view item) { return text.ends_with(item); });
}
Value string_partition(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return partition(interpreter, self, arguments, false);
}
Value string_partition_last(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return partition(interpreter, self, arguments, true);
}
Value string_split(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return split(interpreter, self, arguments, false);
}
Value string_split_last(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return split(interpreter, self, arguments, true);
}

Value string_remove_prefix(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_positional("removeprefix", arguments, 1, 1);
  std::string_view text = view_of(self);
  const std::string_view prefix = needle(arguments, "removeprefix").view();
  if (text.starts_with(prefix)) text.remove_prefix(prefix.size());
  return interpreter.text(std::string(text), self.as<String>().markup());
}

Value string_remove_suffix(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_positional("removesuffix", arguments, 1, 1);
  std::string_view text = view_of(self);
  const std::string_view suffix = needle(arguments, "removesuffix").view();
  if (text.ends_with(suffix)) text.remove_suffix(suffix.size());
  return interpreter.text(std::string(text), self.as<String>().markup());
}

Value string_replace(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_positional("replace", arguments, 2, 3);
  const String& from = require_string(arguments.positional[0], "replace");
  const String& to = require_string(arguments.positional[1], "replace");
  const int64_t count = arguments.positional.size() > 2 ? require_int(arguments.positional[2]) : -1;
  return interpreter.text(replaced(interpreter.budget(), view_of(self), from.view(), to.view(), count),
                          self.as<String>().markup());
}

Value string_split_lines(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const auto [keep] = bind("splitlines", arguments, {"keepends"});
  interpreter.budget().step_bytes(view_of(self).size());
  return list_of(interpreter, split_lines(view_of(self), !keep.is_missing() && truthy(keep)),
                 self.as<String>().markup());
}

std::string replaced(Budget& budget, std::string_view text, std::string_view from, std::string_view to, int64_t count) {
  budget.step_bytes(text.size());
  std::string result;
  if (from.empty()) {  // between all characters, and at both ends
    size_t i = 0;
    for (; count != 0; --count) {
      result += to;
      if (i >= text.size()) return result;
      const size_t begin = i;
      next_codepoint(text, i);
      result += text.substr(begin, i - begin);
      budget.check_size(result.size());
    }
    return result += text.substr(i);
  }
  size_t rest = 0;
  for (; count != 0; --count) {
    const size_t found = find_text(text, from, rest);
    if (found == kNone) break;
    result += text.substr(rest, found - rest);
    result += to;
    rest = found + from.size();
    budget.check_size(result.size());
  }
  result += text.substr(rest);
  budget.step_bytes(result.size());
  return result;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t border = i;
    const char32_t c = next_codepoint(text, i);
    if (!is_line_break(c)) continue;
    if (c == '\r' && i < text.size() && text[i] == '\n') ++i;
    lines.push_back(text.substr(begin, (keep_ends ? i : border) - begin));
    begin = i;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

}  // namespace carronade::jinja
