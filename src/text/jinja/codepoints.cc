#include "text/jinja/codepoints.h"

namespace carronade::jinja {

namespace {

bool continues(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// Length of the well-formed sequence at `position`, 0 if there is none.
size_t sequence_length(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const size_t left = text.size() - position;
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead < 0xE0) return left >= 2 && continues(byte(1)) ? 2 : 0;
  if (lead >= 0xE0 && lead < 0xF0) {
    if (left < 3 || !continues(byte(1)) || !continues(byte(2))) return 0;
    return lead == 0xE0 && byte(1) < 0xA0 ? 0 : 3;
  }
  if (lead >= 0xF0 && lead < 0xF5) {
    if (left < 4 || !continues(byte(1)) || !continues(byte(2)) || !continues(byte(3))) return 0;
    if (lead == 0xF0 && byte(1) < 0x90) return 0;
    return lead == 0xF4 && byte(1) > 0x8F ? 0 : 4;
  }
  return 0;
}

}  // namespace

char32_t next_codepoint(std::string_view text, size_t& position) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[position + i])); };
  char32_t c = byte(0);
  const size_t length = sequence_length(text, position);
  if (length == 2) c = (c & 0x1F) << 6 | (byte(1) & 0x3F);
  if (length == 3) c = (c & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  if (length == 4) c = (c & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  position += length ? length : 1;
  return c;
}

char32_t previous_codepoint(std::string_view text, size_t& position) {
  for (size_t back = 1; back <= 4 && back <= position; ++back) {
    if (sequence_length(text, position - back) == back) {
      position -= back;
      size_t forward = position;
      return next_codepoint(text, forward);
    }
  }
  return static_cast<unsigned char>(text[--position]);
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

std::u32string to_codepoints(std::string_view text) {
  std::u32string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) result += next_codepoint(text, i);
  return result;
}

std::string to_utf8(std::u32string_view codepoints) {
  std::string result;
  result.reserve(codepoints.size());
  for (char32_t c : codepoints) append_utf8(result, c);
  return result;
}

size_t count_codepoints(std::string_view text) {
  size_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) {
    const size_t length = sequence_length(text, i);
    i += length ? length : 1;
  }
  return count;
}

size_t offset_of(std::string_view text, size_t character) {
  size_t offset = 0;
  for (; character > 0 && offset < text.size(); --character) {
    const size_t length = sequence_length(text, offset);
    offset += length ? length : 1;
  }
  return offset;
}

bool is_ascii(std::string_view text) {
  unsigned char all = 0;
  for (char c : text) all |= static_cast<unsigned char>(c);
  return all < 0x80;
}

bool is_valid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    constexpr size_t kStride = 64;  // plain text, many bytes at once
    if (i + kStride <= text.size() && is_ascii(text.substr(i, kStride))) {
      i += kStride;
      continue;
    }
    const size_t length = sequence_length(text, i);
    if (length == 0) return false;
    const auto second = length == 3 ? static_cast<unsigned char>(text[i + 1]) : 0;
    if (static_cast<unsigned char>(text[i]) == 0xED && second >= 0xA0) return false;
    i += length;
  }
  return true;
}

bool is_space(char32_t c) {
  if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 28 && c <= 32);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_line_break(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

std::string_view strip_space(std::string_view text, Side side) {
  size_t begin = 0;
  size_t end = text.size();
  if (static_cast<int>(side) & static_cast<int>(Side::kLeft)) {
    for (size_t next = 0; begin < end && is_space(next_codepoint(text, next)); begin = next) {
    }
  }
  if (static_cast<int>(side) & static_cast<int>(Side::kRight)) {
    for (size_t previous = end; end > begin && is_space(previous_codepoint(text, previous)); end = previous) {
    }
  }
  return text.substr(begin, end - begin);
}

}  // namespace carronade::jinja
