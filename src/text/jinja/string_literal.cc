#include "text/jinja/string_literal.h"

#include <fmt/format.h>

#include "text/jinja/codepoints.h"

namespace carronade::jinja {

namespace {

// Jinja2 goes through .encode("ascii", "backslashreplace"), so a backslash before é escapes the backslash of its
// replacement.
std::string backslash_replace(std::string_view body) {
  std::string ascii;
  ascii.reserve(body.size());
  for (size_t i = 0; i < body.size();) {
    const char32_t c = next_codepoint(body, i);
    if (c < 0x80) {
      ascii += static_cast<char>(c);
    } else if (c < 0x100) {
      ascii += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    } else if (c < 0x10000) {
      ascii += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      ascii += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
    }
  }
  return ascii;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool read_hex(std::string_view text, size_t& position, int digits, char32_t& value) {
  value = 0;
  for (int i = 0; i < digits; ++i, ++position) {
    const int digit = position < text.size() ? hex_value(text[position]) : -1;
    if (digit < 0) return false;
    value = value << 4 | static_cast<char32_t>(digit);
  }
  return true;
}

const char* unescape(std::string_view text, std::string& out) {
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '\\') {
      out += text[i++];
      continue;
    }
    const char c = i + 1 < text.size() ? text[i + 1] : 0;
    i += 2;
    static constexpr std::string_view kPlain = "\\'\"abfnrtv";
    static constexpr std::string_view kMeaning = "\\'\"\a\b\f\n\r\t\v";
    char32_t value = 0;
    if (c == '\n') continue;
    if (const size_t plain = kPlain.find(c); plain != std::string_view::npos) {
      out += kMeaning[plain];
    } else if (c >= '0' && c <= '7') {
      value = static_cast<char32_t>(c - '0');
      for (int more = 0; more < 2 && i < text.size() && text[i] >= '0' && text[i] <= '7'; ++more) {
        value = value * 8 + static_cast<char32_t>(text[i++] - '0');
      }
      append_utf8(out, value);
    } else if (c == 'x') {
      if (!read_hex(text, i, 2, value)) return "truncated \\xXX escape";
      append_utf8(out, value);
    } else if (c == 'u') {
      if (!read_hex(text, i, 4, value)) return "truncated \\uXXXX escape";
      append_utf8(out, value);
    } else if (c == 'U') {
      if (!read_hex(text, i, 8, value)) return "truncated \\UXXXXXXXX escape";
      if (value > 0x10FFFF) return "illegal Unicode character";
      append_utf8(out, value);
    } else if (c == 'N') {
      return "escapes by a character's name (\\N{…}) are not supported";
    } else {
      out += '\\';
      out += c;
    }
  }
  return nullptr;
}

}  // namespace

const char* unescape_literal(std::string_view body, std::string& out) {
  if (body.find('\\') == std::string_view::npos) {
    out = body;
    return nullptr;
  }
  return unescape(backslash_replace(body), out);
}

}  // namespace carronade::jinja
