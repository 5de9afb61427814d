#include "text/jinja/numbers.h"

#include <cstdlib>
#include <limits>
#include <string>

#include "text/jinja/codepoints.h"
#include "text/jinja/unicode.h"
#include "text/jinja/value.h"

namespace carronade::jinja {

namespace {

// Stripped, with the digits of all scripts turned into ASCII's; other characters beyond ASCII fit no number.
std::string ascii_number(std::string_view text) {
  text = strip_space(text, Side::kBoth);
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_codepoint(text, i);
    const int digit = decimal_value(c);
    result += digit >= 0 ? static_cast<char>('0' + digit) : c < 0x80 ? static_cast<char>(c) : '?';
  }
  return result;
}

// Underscores may stand between digits, singly.
bool remove_underscores(std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      result += text[i];
      continue;
    }
    const auto alnum = [&](size_t at) {
      return at < text.size() && text[at] < 127 && is_alnum(static_cast<char32_t>(text[at]));
    };
    if (i == 0 || !alnum(i - 1) || !alnum(i + 1)) return false;
  }
  text = result;
  return true;
}

}  // namespace

std::optional<int64_t> parse_int(std::string_view text, int64_t base) {
  if (base != 0 && (base < 2 || base > 36)) raise("int() base must be >= 2 and <= 36, or 0");
  std::string digits = ascii_number(text);
  bool negative = false;
  if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) {
    negative = digits[0] == '-';
    digits.erase(0, 1);
  }
  const char mark = digits.size() > 2 && digits[0] == '0' ? static_cast<char>(digits[1] | 32) : '\0';
  const int64_t prefixed = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
  if (prefixed && (base == prefixed || base == 0)) {
    digits.erase(0, 2);
    if (digits[0] == '_') digits.erase(0, 1);
    base = prefixed;
  } else if (base == 0) {
    if (digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of("0_") != std::string::npos)
      return std::nullopt;
    base = 10;
  }
  if (digits.empty() || !remove_underscores(digits)) return std::nullopt;
  uint64_t value = 0;
  for (char c : digits) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10 : 99;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(value, static_cast<uint64_t>(base), &value) ||
        __builtin_add_overflow(value, static_cast<uint64_t>(digit), &value)) {
      raise("integers beyond 64 bits are not supported");
    }
  }
  const auto most = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (value > most) raise("integers beyond 64 bits are not supported");
  return negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

std::optional<double> parse_float(std::string_view text) {
  std::string number = ascii_number(text);
  if (number.empty() || !remove_underscores(number)) return std::nullopt;
  // strtod also reads hexadecimal numbers and nan(…), Python does not.
  std::string lower = number;
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  const std::string_view bare = std::string_view(lower).substr(lower[0] == '-' || lower[0] == '+' ? 1 : 0);
  const bool word = bare == "inf" || bare == "infinity" || bare == "nan";
  if (!word && (bare.empty() || bare.find_first_not_of("0123456789.e+-") != std::string_view::npos))
    return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  return *end == '\0' ? std::optional<double>(value) : std::nullopt;
}

}  // namespace carronade::jinja
