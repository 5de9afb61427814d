// str methods that look at characters and case. Those that search and split are in string_search_methods.cc.
#include <algorithm>

#include "text/jinja/brace_format.h"
#include "text/jinja/builtins.h"
#include "text/jinja/codepoints.h"
#include "text/jinja/format_value.h"
#include "text/jinja/operators.h"
#include "text/jinja/string_search.h"
#include "text/jinja/unicode.h"

namespace carronade::jinja {

namespace {

std::string_view view_of(const Value& self) { return self.as<String>().view(); }

Value text_like(Interpreter& interpreter, const Value& self, std::string text) {
  interpreter.budget().step_bytes(text.size());
  return interpreter.text(std::move(text), self.as<String>().markup());
}

using TextMap = std::string (*)(std::string_view);
template <TextMap kMap>
Value map_text(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_no_arguments("str method", arguments);
  return text_like(interpreter, self, kMap(view_of(self)));
}

using CharacterTest = bool (*)(char32_t);
// isalpha and its like: all characters pass, and there is one.
template <CharacterTest kTest>
Value all_characters(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_no_arguments("str method", arguments);
  const std::string_view text = view_of(self);
  interpreter.budget().step_bytes(text.size());
  for (size_t i = 0; i < text.size();) {
    if (!kTest(next_codepoint(text, i))) return Value::boolean(false);
  }
  return Value::boolean(!text.empty());
}

Value is_ascii_method(Interpreter&, const Value& self, Arguments& arguments) {
  expect_no_arguments("isascii", arguments);
  return Value::boolean(is_ascii(view_of(self)));
}

Value is_printable_method(Interpreter&, const Value& self, Arguments& arguments) {
  expect_no_arguments("isprintable", arguments);
  const std::string_view text = view_of(self);
  for (size_t i = 0; i < text.size();) {
    if (!is_printable(next_codepoint(text, i))) return Value::boolean(false);
  }
  return Value::boolean(true);
}

Value is_identifier_method(Interpreter&, const Value& self, Arguments& arguments) {
  expect_no_arguments("isidentifier", arguments);
  const std::string_view text = view_of(self);
  for (size_t i = 0; i < text.size();) {
    const bool first = i == 0;
    const char32_t c = next_codepoint(text, i);
    if (!(first ? starts_identifier(c) : continues_identifier(c))) return Value::boolean(false);
  }
  return Value::boolean(!text.empty());
}

// islower and isupper: no character of another case, and one of this.
template <CharacterTest kWanted, CharacterTest kOther>
Value all_cased(Interpreter&, const Value& self, Arguments& arguments) {
  expect_no_arguments("str method", arguments);
  const std::string_view text = view_of(self);
  bool found = false;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_codepoint(text, i);
    if (kOther(c) || is_title(c)) return Value::boolean(false);
    found = found || kWanted(c);
  }
  return Value::boolean(found);
}

Value is_title_method(Interpreter&, const Value& self, Arguments& arguments) {
  expect_no_arguments("istitle", arguments);
  const std::string_view text = view_of(self);
  bool cased = false;
  bool previous_cased = false;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_codepoint(text, i);
    if (is_upper(c) || is_title(c)) {
      if (previous_cased) return Value::boolean(false);
      previous_cased = cased = true;
    } else if (is_lower(c)) {
      if (!previous_cased) return Value::boolean(false);
      cased = true;
    } else {
      previous_cased = false;
    }
  }
  return Value::boolean(cased);
}

// strip, lstrip, rstrip.
template <Side kSide>
Value strip(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_positional("strip", arguments, 0, 1);
  const std::string_view text = view_of(self);
  if (arguments.positional.empty() || arguments.positional[0].is_none()) {
    return text_like(interpreter, self, std::string(strip_space(text, kSide)));
  }
  if (!arguments.positional[0].is_string()) raise("strip arg must be None or str");
  return text_like(interpreter, self, std::string(strip_characters(text, view_of(arguments.positional[0]), kSide)));
}

// Spaces (or another character) around a text up to a width in characters.
Value pad(Interpreter& interpreter, const Value& self, Arguments& arguments, Side side) {
  expect_positional("padding", arguments, 1, 2);
  const int64_t width = require_int(arguments.positional[0]);
  std::string fill = " ";
  if (arguments.positional.size() > 1) {
    const String& given = require_string(arguments.positional[1], "padding");
    if (given.length() != 1) raise("The fill character must be exactly one character long");
    fill = given.text();
  }
  return text_like(interpreter, self, padded(interpreter.budget(), self.as<String>(), width, fill, side));
}

template <Side kSide>
Value justify(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return pad(interpreter, self, arguments, kSide);
}

Value zfill(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_positional("zfill", arguments, 1, 1);
  const int64_t width = require_int(arguments.positional[0]);
  const auto missing = width - static_cast<int64_t>(self.as<String>().length());
  std::string text(view_of(self));
  if (missing > 0) {
    interpreter.budget().check_size(static_cast<uint64_t>(width));
    const bool sign = !text.empty() && (text[0] == '+' || text[0] == '-');
    text.insert(sign ? 1 : 0, static_cast<size_t>(missing), '0');
  }
  return text_like(interpreter, self, std::move(text));
}

Value expandtabs(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const auto [given] = bind("expandtabs", arguments, {"tabsize"});
  const int64_t size = given.is_missing() ? 8 : require_int(given);
  const std::string_view text = view_of(self);
  std::string result;
  int64_t column = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    const char32_t c = next_codepoint(text, i);
    if (c == '\t') {
      if (size <= 0) continue;
      const int64_t spaces = size - column % size;
      column += spaces;
      interpreter.budget().check_size(result.size() + static_cast<uint64_t>(spaces));
      result.append(static_cast<size_t>(spaces), ' ');
      continue;
    }
    column = c == '\n' || c == '\r' ? 0 : column + 1;
    result += text.substr(begin, i - begin);
  }
  return text_like(interpreter, self, std::move(result));
}

Value join(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_positional("join", arguments, 1, 1);
  std::string result;
  bool first = true;
  size_t index = 0;
  interpreter.for_each(arguments.positional[0], [&](const Value& item) {
    if (!item.is_string()) {
      raise("sequence item " + std::to_string(index) + ": expected str instance, " + type_name(item) + " found");
    }
    if (!first) result += view_of(self);
    first = false;
    ++index;
    result += view_of(item);
    interpreter.budget().check_size(result.size());
  });
  return text_like(interpreter, self, std::move(result));
}

Value translate(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_positional("translate", arguments, 1, 1);
  const Value& table = arguments.positional[0];
  const std::string_view text = view_of(self);
  std::string result;
  for (size_t i = 0; i < text.size();) {
    interpreter.budget().step();
    const char32_t c = next_codepoint(text, i);
    const Value to = interpreter.get_item(table, Value::integer(static_cast<int64_t>(c)));
    if (to.is_undefined()) {
      append_utf8(result, c);
    } else if (to.is_string()) {
      result += view_of(to);
      interpreter.budget().check_size(result.size());
    } else if (to.is_integral() && to.as_int() >= 0 && to.as_int() <= 0x10FFFF) {
      append_utf8(result, static_cast<char32_t>(to.as_int()));
    } else if (!to.is_none()) {
      raise("character mapping must return integer, None or str");
    }
  }
  return text_like(interpreter, self, std::move(result));
}

Value format(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return format_braces(interpreter, self.as<String>(), arguments);
}

Value format_map(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  if (!arguments.keyword.empty()) raise("format_map() takes no keyword arguments");
  expect_positional("format_map", arguments, 1, 1);
  Arguments of_map;
  of_map.owners.push_back(arguments.positional[0]);
  if (!of_map.owners[0].is(Type::kDict)) raise("format_map() needs a mapping");
  for (const auto& [key, value] : of_map.owners[0].as<Dict>().entries()) {
    if (key.is_string()) of_map.keyword.emplace_back(key.as<String>().view(), value);
  }
  return format_braces(interpreter, self.as<String>(), of_map);
}

constexpr MethodEntry kMethods[] = {
    {"capitalize", map_text<capitalize>},
    {"casefold", map_text<fold_case>},
    {"center", justify<Side::kBoth>},
    {"count", string_count},
    {"endswith", string_ends_with},
    {"expandtabs", expandtabs},
    {"find", string_find},
    {"format", format},
    {"format_map", format_map},
    {"index", string_index},
    {"isalnum", all_characters<is_alnum>},
    {"isalpha", all_characters<is_alpha>},
    {"isascii", is_ascii_method},
    {"isdecimal", all_characters<is_decimal>},
    {"isdigit", all_characters<is_digit>},
    {"isidentifier", is_identifier_method},
    {"islower", all_cased<is_lower, is_upper>},
    {"isnumeric", all_characters<is_numeric>},
    {"isprintable", is_printable_method},
    {"isspace", all_characters<is_space>},
    {"istitle", is_title_method},
    {"isupper", all_cased<is_upper, is_lower>},
    {"join", join},
    {"ljust", justify<Side::kRight>},
    {"lower", map_text<to_lower>},
    {"lstrip", strip<Side::kLeft>},
    {"partition", string_partition},
    {"removeprefix", string_remove_prefix},
    {"removesuffix", string_remove_suffix},
    {"replace", string_replace},
    {"rfind", string_find_last},
    {"rindex", string_index_last},
    {"rjust", justify<Side::kLeft>},
    {"rpartition", string_partition_last},
    {"rsplit", string_split_last},
    {"rstrip", strip<Side::kRight>},
    {"split", string_split},
    {"splitlines", string_split_lines},
    {"startswith", string_starts_with},
    {"strip", strip<Side::kBoth>},
    {"swapcase", map_text<swap_case>},
    {"title", map_text<to_title>},
    {"translate", translate},
    {"upper", map_text<to_upper>},
    {"zfill", zfill},
};
static_assert(is_sorted_by_name(kMethods));

}  // namespace

const MethodEntry* find_string_method(std::string_view name) { return find_by_name(kMethods, name); }

std::string padded(Budget& budget, const String& text, int64_t width, std::string_view fill, Side side) {
  const auto length = static_cast<int64_t>(text.length());
  if (width <= length) return text.text();
  const int64_t missing = width - length;
  budget.check_size(static_cast<uint64_t>(width) > (uint64_t{1} << 40) ? ~uint64_t{0}
                                                                       : static_cast<uint64_t>(width) * fill.size());
  int64_t left = side == Side::kLeft ? missing : 0;
  if (side == Side::kBoth) left = missing / 2 + (missing & width & 1);  // CPython's rounding
  std::string result;
  for (int64_t i = 0; i < left; ++i) result += fill;
  result += text.view();
  for (int64_t i = left; i < missing; ++i) result += fill;
  return result;
}

std::string_view strip_characters(std::string_view text, std::string_view characters, Side side) {
  std::u32string set = to_codepoints(characters);
  std::sort(set.begin(), set.end());
  const auto strips = [&](char32_t c) { return std::binary_search(set.begin(), set.end(), c); };
  size_t begin = 0;
  size_t end = text.size();
  if (static_cast<int>(side) & static_cast<int>(Side::kLeft)) {
    for (size_t next = 0; begin < end && strips(next_codepoint(text, next)); begin = next) {
    }
  }
  if (static_cast<int>(side) & static_cast<int>(Side::kRight)) {
    for (size_t previous = end; end > begin && strips(previous_codepoint(text, previous)); end = previous) {
    }
  }
  return text.substr(begin, end - begin);
}

}  // namespace carronade::jinja
