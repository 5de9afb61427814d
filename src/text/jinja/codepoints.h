// Characters of UTF-8 text. Nothing here reads out of bounds or fails, whatever the bytes: a byte that starts no
// character counts as one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace carronade::jinja {

// The character at `position` (< text.size()), and moves `position` behind it. Surrogates encoded as three bytes are
// let through.
char32_t next_codepoint(std::string_view text, size_t& position);
// The character that ends at `position` (> 0), and moves `position` to its first byte.
char32_t previous_codepoint(std::string_view text, size_t& position);

void append_utf8(std::string& out, char32_t codepoint);
std::u32string to_codepoints(std::string_view text);
std::string to_utf8(std::u32string_view codepoints);

size_t count_codepoints(std::string_view text);
// The byte offset of a character, text.size() past the end.
size_t offset_of(std::string_view text, size_t character);

bool is_ascii(std::string_view text);
// Well-formed UTF-8 without surrogates.
bool is_valid_utf8(std::string_view text);

// str.isspace() of one character.
bool is_space(char32_t codepoint);
// A line border of str.splitlines().
bool is_line_break(char32_t codepoint);

enum class Side : uint8_t { kLeft = 1, kRight = 2, kBoth = 3 };
std::string_view strip_space(std::string_view text, Side side);

}  // namespace carronade::jinja
