#include "text/jinja/format_spec.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "text/jinja/codepoints.h"
#include "text/jinja/format_value.h"

namespace carronade::jinja {

namespace {

struct Spec {
  std::string fill = " ";
  char align = 0;  // < > ^ =
  char sign = '-';
  bool no_negative_zero = false;
  bool alternate = false;
  bool zero = false;
  int64_t width = -1;
  char grouping = 0;  // , or _
  int64_t precision = -1;
  std::string_view type;
};

constexpr int64_t kMaxField = int64_t{1} << 31;

int64_t read_number(std::string_view& rest) {
  if (rest.empty() || rest[0] < '0' || rest[0] > '9') return -1;
  int64_t value = 0;
  while (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') {
    value = value * 10 + (rest[0] - '0');
    if (value > kMaxField) raise("Too many decimal digits in format string");
    rest.remove_prefix(1);
  }
  return value;
}

bool take(std::string_view& rest, std::string_view among, char& what) {
  if (rest.empty() || among.find(rest[0]) == std::string_view::npos) return false;
  what = rest[0];
  rest.remove_prefix(1);
  return true;
}

Spec parse_spec(std::string_view text) {
  Spec spec;
  std::string_view rest = text;
  char flag = 0;
  if (!rest.empty()) {
    size_t after = 0;
    next_codepoint(rest, after);
    if (after < rest.size() && std::string_view("<>^=").find(rest[after]) != std::string_view::npos) {
      spec.fill = rest.substr(0, after);
      spec.align = rest[after];
      rest.remove_prefix(after + 1);
    } else {
      take(rest, "<>^=", spec.align);
    }
  }
  take(rest, "+- ", spec.sign);
  spec.no_negative_zero = take(rest, "z", flag);
  spec.alternate = take(rest, "#", flag);
  if (spec.fill == " " && spec.align == 0 && take(rest, "0", flag)) {
    spec.zero = true;
    spec.fill = "0";
    spec.align = '=';
  } else if (!rest.empty() && rest[0] == '0' && spec.align != 0) {
    take(rest, "0", flag);
    spec.zero = true;
    if (text.size() < 2 || spec.fill == " ") spec.fill = text.find(spec.align) > 0 ? spec.fill : "0";
  }
  spec.width = read_number(rest);
  take(rest, ",_", spec.grouping);
  if (spec.grouping && take(rest, ",_", flag)) {
    raise(flag == spec.grouping ? std::string("Cannot specify '") + flag + "' with '" + flag + "'."
                                : "Cannot specify both ',' and '_'.");
  }
  if (take(rest, ".", flag)) {
    spec.precision = read_number(rest);
    if (spec.precision < 0) raise("Format specifier missing precision");
  }
  if (!rest.empty()) {
    size_t after = 0;
    next_codepoint(rest, after);
    if (after < rest.size()) raise("Invalid format specifier");
  }
  spec.type = rest;
  return spec;
}

[[noreturn]] void unknown_code(const Spec& spec, const Value& value) {
  raise("Unknown format code '" + std::string(spec.type) + "' for object of type '" + type_name(value) + "'");
}

// Digits with separators every `every` places, at least `width` characters wide (for zeros that are grouped too).
std::string grouped(std::string_view digits, char separator, size_t every, size_t width) {
  std::string reversed;
  size_t count = 0;
  for (size_t i = digits.size(); i > 0 || reversed.size() < width;) {
    if (count == every) {
      reversed += separator;
      count = 0;
      if (i == 0 && reversed.size() >= width) {  // no separator in front: one zero more
        reversed += '0';
        break;
      }
    }
    reversed += i > 0 ? digits[--i] : '0';
    ++count;
  }
  std::reverse(reversed.begin(), reversed.end());
  return reversed;
}

// Sign, prefix and digits, padded; `tail` is what follows the integer part.
std::string lay_out(Budget& budget, const Spec& spec, std::string sign, std::string_view digits, std::string_view tail,
                    size_t every) {
  budget.check_size(static_cast<uint64_t>(std::max<int64_t>(spec.width, 0)) * spec.fill.size());
  const size_t width = static_cast<size_t>(std::max<int64_t>(spec.width, 0));
  std::string number;
  const char align = spec.align ? spec.align : '>';
  if (spec.grouping) {
    const size_t taken = sign.size() + tail.size();
    const bool zeros = align == '=' && spec.fill == "0";
    number = grouped(digits, spec.grouping, every, zeros && width > taken ? width - taken : 0);
  } else {
    number = digits;
  }
  number += tail;
  const size_t length = sign.size() + number.size();
  if (length >= width) return sign + number;
  const size_t missing = width - length;
  const size_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string result;
  if (align == '=') result = sign;
  for (size_t i = 0; i < left; ++i) result += spec.fill;
  if (align != '=') result += sign;
  result += number;
  for (size_t i = left; i < missing; ++i) result += spec.fill;
  return result;
}

std::string sign_of(const Spec& spec, bool negative) {
  if (negative) return "-";
  return spec.sign == '-' ? "" : std::string(1, spec.sign);
}

std::string format_text(Budget& budget, const Value& value, const Spec& spec, std::string_view original) {
  const char type = spec.type.empty() ? 's' : spec.type[0];
  if (type != 's' || spec.type.size() > 1) unknown_code(spec, value);
  if (spec.sign != '-' || original.find_first_of("+") == 0) raise("Sign not allowed in string format specifier");
  if (spec.alternate) raise("Alternate form (#) not allowed in string format specifier");
  if (spec.no_negative_zero) raise("Negative zero coercion (z) not allowed in format specifier with 's'");
  if (spec.grouping) raise(std::string("Cannot specify '") + spec.grouping + "' with 's'.");
  if (spec.align == '=' && !spec.zero) raise("'=' alignment not allowed in string format specifier");
  std::string_view text = value.as<String>().view();
  if (spec.precision >= 0) text = text.substr(0, offset_of(text, static_cast<size_t>(spec.precision)));
  const auto length = static_cast<int64_t>(count_codepoints(text));
  if (length >= spec.width) return std::string(text);
  budget.check_size(static_cast<uint64_t>(spec.width) * spec.fill.size());
  const int64_t missing = spec.width - length;
  const char align = spec.align == '=' || spec.align == 0 ? '<' : spec.align;
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string result;
  for (int64_t i = 0; i < left; ++i) result += spec.fill;
  result += text;
  for (int64_t i = left; i < missing; ++i) result += spec.fill;
  return result;
}

std::string format_float(Budget& budget, double number, const Spec& spec, bool percent, char type) {
  const bool upper = type == 'E' || type == 'F' || type == 'G';
  std::string body;
  bool negative = std::signbit(number);
  const double magnitude = std::fabs(percent ? number * 100 : number);
  if (std::isnan(number)) {
    body = upper ? "NAN" : "nan";
    negative = false;
  } else if (std::isinf(magnitude)) {
    body = upper ? "INF" : "inf";
  } else if (type == 0) {  // no type: as repr() writes it, or as `g` that always shows a point
    body = spec.precision < 0 ? repr_float(magnitude)
                              : float_digits(magnitude, 'g', static_cast<int>(spec.precision), spec.alternate);
    if (spec.precision >= 0 && body.find_first_of(".e") == std::string::npos) body += ".0";
    if (spec.precision >= 0 && body.find('e') == std::string::npos && body.ends_with(".0") && spec.precision > 0 &&
        body.size() - 2 >= static_cast<size_t>(spec.precision)) {
      body = float_digits(magnitude, 'e', static_cast<int>(spec.precision) - 1, spec.alternate);
      const size_t e = body.find('e');
      size_t end = e;
      if (body.find('.') < e) {
        while (body[end - 1] == '0') --end;
        if (body[end - 1] == '.') --end;
      }
      body = body.substr(0, end) + body.substr(e);
    }
  } else {
    const int precision = spec.precision < 0 ? 6 : static_cast<int>(std::min<int64_t>(spec.precision, INT32_MAX - 16));
    budget.check_size(static_cast<uint64_t>(precision));
    body = float_digits(magnitude, type, precision, spec.alternate);
  }
  if (spec.no_negative_zero && body.find_first_of("123456789in") == std::string::npos) negative = false;
  if (percent) body += '%';
  const size_t point = std::min(body.find_first_not_of("0123456789"), body.size());
  Spec layout = spec;
  if (point == 0) layout.grouping = 0;
  return lay_out(budget, layout, sign_of(spec, negative), std::string_view(body).substr(0, point),
                 std::string_view(body).substr(point), 3);
}

std::string format_integer(Budget& budget, const Value& value, const Spec& spec) {
  const char type = spec.type.empty() ? 'd' : spec.type[0];
  if (spec.type.size() > 1) unknown_code(spec, value);
  const int64_t number = value.as_int();
  if (std::string_view("eEfFgG%").find(type) != std::string_view::npos) {
    return format_float(budget, static_cast<double>(number), spec, type == '%', type == '%' ? 'f' : type);
  }
  if (std::string_view("bcdoxXn").find(type) == std::string_view::npos) unknown_code(spec, value);
  if (spec.precision >= 0) raise("Precision not allowed in integer format specifier");
  if (spec.no_negative_zero)
    raise("Negative zero coercion (z) not allowed in format specifier with integer presentation type");
  if (type == 'c') {
    if (spec.sign != '-') raise("Sign not allowed with integer format specifier 'c'");
    if (number < 0 || number > 0x10FFFF) raise("%c arg not in range(0x110000)");
    std::string character;
    append_utf8(character, static_cast<char32_t>(number));
    Spec layout = spec;
    layout.align = spec.align ? spec.align : '<';
    layout.width = std::max<int64_t>(spec.width, 0) + static_cast<int64_t>(character.size()) - 1;
    return spec.width <= 1 ? character : lay_out(budget, layout, "", character, "", 3);
  }
  if (spec.grouping == ',' && type != 'd') raise(std::string("Cannot specify ',' with '") + type + "'.");
  const int base = type == 'b' ? 2 : type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
  std::string sign = sign_of(spec, number < 0);
  if (spec.alternate && base != 10) sign += std::string("0") + type;
  return lay_out(budget, spec, sign, integer_digits(magnitude_of(number), base, type == 'X'), "", base == 10 ? 3 : 4);
}

}  // namespace

std::string integer_digits(uint64_t magnitude, int base, bool upper) {
  const std::string_view alphabet = upper ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string digits;
  do {
    digits += alphabet[magnitude % static_cast<uint64_t>(base)];
    magnitude /= static_cast<uint64_t>(base);
  } while (magnitude);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::string float_digits(double magnitude, char kind, int precision, bool alternate) {
  const char pattern[] = {
      '%', alternate ? '#' : '.', alternate ? '.' : '*', alternate ? '*' : kind, alternate ? kind : '\0', '\0'};
  const int size = std::snprintf(nullptr, 0, pattern, precision, magnitude);
  std::string result(static_cast<size_t>(size) + 1, '\0');
  std::snprintf(result.data(), result.size(), pattern, precision, magnitude);
  result.pop_back();
  return result;
}

std::string ascii_repr(const Value& value) {
  const std::string printed = repr(value);
  if (value.is_string()) return repr_text(value.as<String>().view(), true);
  std::string result;
  for (size_t i = 0; i < printed.size();) {
    const size_t begin = i;
    const char32_t c = next_codepoint(printed, i);
    if (c < 0x80) {
      result += static_cast<char>(c);
    } else {
      const std::string escaped = repr_text(std::string_view(printed).substr(begin, i - begin), true);
      result += escaped.substr(1, escaped.size() - 2);
    }
  }
  return result;
}

std::string format_with_spec(Budget& budget, const Value& value, std::string_view text) {
  if (text.empty()) return str(value);
  switch (value.type()) {
    case Type::kString:
      return format_text(budget, value, parse_spec(text), text);
    case Type::kBool:
    case Type::kInt:
      return format_integer(budget, value, parse_spec(text));
    case Type::kFloat: {
      const Spec spec = parse_spec(text);
      if (spec.type.empty()) return format_float(budget, value.as_float(), spec, false, 0);
      const char type = spec.type[0];
      if (spec.type.size() > 1 || std::string_view("eEfFgGn%").find(type) == std::string_view::npos) {
        unknown_code(spec, value);
      }
      return format_float(budget, value.as_float(), spec, type == '%', type == '%' ? 'f' : type == 'n' ? 'g' : type);
    }
    default:
      raise(std::string("unsupported format string passed to ") + type_name(value) + ".__format__");
  }
}

}  // namespace carronade::jinja
