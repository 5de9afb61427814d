// Filters on text: jinja2.filters, and transformers' own `tojson`.
#include "text/jinja/builtins.h"
#include "text/jinja/codepoints.h"
#include "text/jinja/escape.h"
#include "text/jinja/format_value.h"
#include "text/jinja/json.h"
#include "text/jinja/operators.h"
#include "text/jinja/printf_format.h"
#include "text/jinja/string_search.h"
#include "text/jinja/unicode.h"
#include "text/jinja/wrap.h"

namespace carronade::jinja {

namespace {

// soft_str: Markup stays what it is, everything else becomes a plain string.
Value soft_str(Interpreter& interpreter, const Value& value) {
  return value.is_string() ? value : interpreter.text(str(value));
}

std::string_view view_of(const Value& text) { return text.as<String>().view(); }

Value like(Interpreter& interpreter, const Value& text, std::string result) {
  interpreter.budget().step_bytes(result.size());
  return interpreter.text(std::move(result), text.as<String>().markup());
}

Value call_method(Interpreter& interpreter, const Value& text, std::string_view name, std::vector<Value> arguments) {
  Arguments list;
  list.positional = std::move(arguments);
  return find_method(text, name)(interpreter, text, list);
}

Value filter_upper(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("upper", arguments);
  const Value text = soft_str(interpreter, input);
  return like(interpreter, text, to_upper(view_of(text)));
}
Value filter_lower(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("lower", arguments);
  const Value text = soft_str(interpreter, input);
  return like(interpreter, text, to_lower(view_of(text)));
}
Value filter_capitalize(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("capitalize", arguments);
  const Value text = soft_str(interpreter, input);
  return like(interpreter, text, capitalize(view_of(text)));
}
Value filter_string(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("string", arguments);
  return soft_str(interpreter, input);
}

// Words begin behind white space and these: - ( { [ <
Value filter_title(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("title", arguments);
  const Value value = soft_str(interpreter, input);
  const std::string_view text = view_of(value);
  const auto splits = [](char32_t c) {
    return is_space(c) || (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) != std::string_view::npos);
  };
  std::string result;
  for (size_t i = 0; i < text.size();) {
    size_t begin = i;
    const bool separator = splits(next_codepoint(text, i));
    size_t first_end = i;
    while (i < text.size()) {
      size_t next = i;
      if (splits(next_codepoint(text, next)) != separator) break;
      i = next;
    }
    if (separator) {
      result += text.substr(begin, i - begin);
    } else {
      result += to_upper(text.substr(begin, first_end - begin)) + to_lower(text.substr(first_end, i - first_end));
    }
  }
  return like(interpreter, value, std::move(result));
}

Value filter_trim(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [characters] = bind("do_trim", arguments, {"chars"});
  return call_method(interpreter, soft_str(interpreter, input), "strip",
                     {characters.is_missing() ? Value::none() : characters});
}

Value filter_center(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [width] = bind("do_center", arguments, {"width"});
  return call_method(interpreter, soft_str(interpreter, input), "center",
                     {width.is_missing() ? Value::integer(80) : width});
}

Value filter_replace(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [from, to, count] = bind("do_replace", arguments, {"old", "new", "count"}, 2);
  const int64_t most = count.is_missing() || count.is_none() ? -1 : require_int(count);
  return interpreter.text(replaced(interpreter.budget(), str(input), str(from), str(to), most));
}

Value filter_indent(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [width, first, blank] = bind("do_indent", arguments, {"width", "first", "blank"});
  Budget& budget = interpreter.budget();
  std::string indention(4, ' ');
  if (width.is_string()) {
    indention = view_of(width);
  } else if (!width.is_missing()) {
    const int64_t count = std::max<int64_t>(require_int(width), 0);
    budget.check_size(static_cast<uint64_t>(count));
    indention.assign(static_cast<size_t>(count), ' ');
  }
  if (input.is_undefined()) raise_undefined(input);
  if (!input.is_string()) {
    raise(std::string("unsupported operand type(s) for +=: '") + type_name(input) + "' and 'str'");
  }
  std::string text(view_of(input));
  text += '\n';
  const bool blank_too = !blank.is_missing() && truthy(blank);
  const auto lines = split_lines(text, false);
  std::string result;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) result += '\n';
    if (i > 0 && (blank_too || !lines[i].empty())) result += indention;
    result += lines[i];
    budget.check_size(result.size());
  }
  if (!first.is_missing() && truthy(first)) result = indention.append(result);
  return like(interpreter, input, std::move(result));
}

Value filter_tojson(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [ascii, indent, separators, sort_keys] =
      bind("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = !ascii.is_missing() && truthy(ascii);
  style.sort_keys = !sort_keys.is_missing() && truthy(sort_keys);
  if (!indent.is_missing() && !indent.is_none()) {
    style.multi_line = true;
    style.item_separator.assign(1, ',');
    if (indent.is_string()) {
      style.indent = view_of(indent);
    } else {
      const int64_t width = std::max<int64_t>(require_int(indent), 0);
      interpreter.budget().check_size(static_cast<uint64_t>(width));
      style.indent.assign(static_cast<size_t>(width), ' ');
    }
  }
  if (!separators.is_missing() && !separators.is_none()) {
    const std::vector<Value> pair = interpreter.to_vector(separators);
    if (pair.size() != 2)
      raise(pair.size() > 2 ? "too many values to unpack (expected 2)" : "not enough values to unpack");
    style.item_separator = require_string(pair[0], "tojson").text();
    style.key_separator = require_string(pair[1], "tojson").text();
  }
  return interpreter.text(to_json(interpreter.budget(), input, style));
}

Value filter_format(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.keyword.empty()) {
    raise("can't handle positional and keyword arguments at the same time");
  }
  const Value format = soft_str(interpreter, input);
  if (arguments.keyword.empty()) {
    return format_printf(interpreter, format.as<String>(), interpreter.tuple(std::move(arguments.positional)));
  }
  auto* names = new Dict(&interpreter.budget());
  const Value values(names);
  for (const auto& [name, value] : arguments.keyword) names->set(interpreter.text(std::string(name)), value);
  return format_printf(interpreter, format.as<String>(), values);
}

Value filter_safe(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("safe", arguments);
  return interpreter.text(str(input), true);
}

Value filter_escape(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("escape", arguments);
  if (input.is_string() && input.as<String>().markup()) return input;
  return interpreter.text(escape_html(str(input)), true);
}

Value filter_forceescape(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("forceescape", arguments);
  return interpreter.text(escape_html(str(input)), true);
}

Value filter_truncate(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [length, kill_words, end, leeway] =
      bind("do_truncate", arguments, {"length", "killwords", "end", "leeway"});
  const int64_t most = length.is_missing() ? 255 : require_int(length);
  const std::string tail = end.is_missing() ? "..." : require_string(end, "truncate").text();
  const int64_t tolerance = leeway.is_missing() || leeway.is_none() ? 5 : require_int(leeway);
  const auto tail_length = static_cast<int64_t>(count_codepoints(tail));
  if (most < tail_length) raise("expected length >= " + std::to_string(tail_length) + ", got " + std::to_string(most));
  if (tolerance < 0) raise("expected leeway >= 0, got " + std::to_string(tolerance));
  if (input.is_undefined() || (!input.is_string() && length_of(input) >= 0 && length_of(input) - most <= tolerance)) {
    return input;
  }
  const String& text = require_string(input, "truncate");
  if (static_cast<int64_t>(text.length()) - most <= tolerance) return input;
  std::string cut = text.text().substr(0, offset_of(text.view(), static_cast<size_t>(most - tail_length)));
  if (kill_words.is_missing() || !truthy(kill_words)) cut.resize(std::min(cut.rfind(' '), cut.size()));
  cut.append(tail);
  return like(interpreter, input, std::move(cut));
}

Value filter_wordcount(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("wordcount", arguments);
  const Value text = soft_str(interpreter, input);
  int64_t words = 0;
  bool inside = false;
  for (size_t i = 0; i < view_of(text).size();) {
    const bool word = is_word(next_codepoint(view_of(text), i));
    words += word && !inside;
    inside = word;
  }
  return Value::integer(words);
}

Value filter_wordwrap(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [width, break_long, separator, hyphens] =
      bind("do_wordwrap", arguments, {"width", "break_long_words", "wrapstring", "break_on_hyphens"});
  const int64_t columns = width.is_missing() ? 79 : require_int(width);
  const std::string between = separator.is_missing() || separator.is_none() ? "\n" : str(separator);
  const bool long_words = break_long.is_missing() || truthy(break_long);
  const bool at_hyphens = hyphens.is_missing() || truthy(hyphens);
  if (input.is_undefined()) raise_undefined(input);
  std::string result;
  bool first = true;
  for (std::string_view line : split_lines(require_string(input, "wordwrap").view(), false)) {
    if (!first) result += between;
    first = false;
    const auto lines = wrap_line(interpreter.budget(), line, columns, long_words, at_hyphens);
    for (size_t i = 0; i < lines.size(); ++i) {
      if (i) result += between;
      result += lines[i];
      interpreter.budget().check_size(result.size());
    }
  }
  return like(interpreter, input, std::move(result));
}

std::string quote_url(const Value& value, bool query) {
  std::string result;
  for (char c : str(value)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos || (c == '/' && !query);
    if (plain) {
      result += c;
    } else if (c == ' ' && query) {
      result += '+';
    } else {
      const auto byte = static_cast<unsigned char>(c);
      result += '%';
      result += "0123456789ABCDEF"[byte >> 4];
      result += "0123456789ABCDEF"[byte & 15];
    }
  }
  return result;
}

Value filter_urlencode(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("urlencode", arguments);
  const bool iterable = !input.is_string() && (length_of(input) >= 0 || input.is(Type::kIterator));
  if (!iterable) return interpreter.text(quote_url(input, false));
  std::string result;
  const auto add = [&](const Value& key, const Value& value) {
    if (!result.empty()) result += '&';
    result.append(quote_url(key, true)).append(1, '=').append(quote_url(value, true));
    interpreter.budget().check_size(result.size());
  };
  if (input.is(Type::kDict)) {
    for (const auto& [key, value] : input.as<Dict>().entries()) add(key, value);
  } else {
    interpreter.for_each(input, [&](const Value& item) {
      const std::vector<Value> pair = interpreter.to_vector(item);
      if (pair.size() != 2) raise("not enough values to unpack (expected 2)");
      add(pair[0], pair[1]);
    });
  }
  return interpreter.text(std::move(result));
}

Value filter_xmlattr(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [space] = bind("do_xmlattr", arguments, {"autospace"});
  if (input.is_undefined()) raise_undefined(input);
  if (!input.is(Type::kDict)) raise(std::string("'") + type_name(input) + "' object has no attribute 'items'");
  const auto escaped = [](const Value& value) {
    return value.is_string() && value.as<String>().markup() ? str(value) : escape_html(str(value));
  };
  std::string result;
  for (const auto& [key, value] : input.as<Dict>().entries()) {
    if (value.is_none() || value.is_undefined()) continue;
    if (require_string(key, "xmlattr").view().find_first_of(" \t\n\r\f\v/>=") != std::string_view::npos) {
      raise("Invalid character in attribute name: " + repr(key));
    }
    if (!result.empty()) result += ' ';
    result.append(escaped(key)).append("=\"").append(escaped(value)).append(1, '"');
    interpreter.budget().check_size(result.size());
  }
  if ((space.is_missing() || truthy(space)) && !result.empty()) result.insert(result.begin(), ' ');
  return interpreter.text(std::move(result));
}

Value unsupported(Interpreter&, const Value&, Arguments&) {
  raise("the filters pprint, random, striptags and urlize are not supported in chat templates");
}

constexpr FilterEntry kFilters[] = {
    {"capitalize", filter_capitalize},
    {"center", filter_center},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"forceescape", filter_forceescape},
    {"format", filter_format},
    {"indent", filter_indent},
    {"lower", filter_lower},
    {"pprint", unsupported},
    {"random", unsupported},
    {"replace", filter_replace},
    {"safe", filter_safe},
    {"string", filter_string},
    {"striptags", unsupported},
    {"title", filter_title},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"upper", filter_upper},
    {"urlencode", filter_urlencode},
    {"urlize", unsupported},
    {"wordcount", filter_wordcount},
    {"wordwrap", filter_wordwrap},
    {"xmlattr", filter_xmlattr},
};
static_assert(is_sorted_by_name(kFilters));

}  // namespace

const FilterEntry* find_text_filter(std::string_view name) { return find_by_name(kFilters, name); }

}  // namespace carronade::jinja
