#include "checkpoint/utf8.h"

#include <cstdint>

#include "checkpoint/byte_cursor.h"

namespace carronade {
namespace {

// Bytes of the character at the front, or 0 when it is not valid (Unicode 15, table 3-7).
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const auto continues = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    if (lead == 0xE0 && byte(1) < 0xA0) return 0;  // overlong
    if (lead == 0xED && byte(1) > 0x9F) return 0;  // surrogates
    return continues(1) && continues(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if (lead == 0xF0 && byte(1) < 0x90) return 0;  // overlong
    if (lead == 0xF4 && byte(1) > 0x8F) return 0;  // beyond U+10FFFF
    return continues(1) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = character_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string repaired_utf8(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  std::string result;
  while (!text.empty()) {
    const size_t length = character_length(text);
    if (length == 0) {
      result += "\xEF\xBF\xBD";
    } else {
      result += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return result;
}

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 60;
  std::string result;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t length = character_length(rest);
    const auto byte = static_cast<uint8_t>(rest[0]);
    const std::string piece = length == 0 || byte < 0x20 || byte == 0x7F ? fmt::format("\\x{:02x}", byte)
                                                                         : std::string(rest.substr(0, length));
    if (result.size() + piece.size() > kLongest) return result + "…";
    result += piece;
    rest.remove_prefix(length == 0 ? 1 : length);
  }
  return result;
}

}  // namespace carronade
