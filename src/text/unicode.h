// Characters: UTF-8 in and out, the classes that tokenizers ask for, and canonical normalization. All tables are
// immutable and made on first use, so any thread may call anything here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace carronade {

// One bit a class; the first six are what \p{L} \p{N} \p{M} \p{P} \p{S} \s match in the `tokenizers` library, the
// others its own predicates.
enum CharClass : uint16_t {
  kLetter = 1 << 0,
  kNumber = 1 << 1,
  kMark = 1 << 2,
  kPunctuation = 1 << 3,
  kSymbol = 1 << 4,
  kSpace = 1 << 5,
  kDigitsNumber = 1 << 6,  // the `Digits` pre-tokenizer cuts here
  kDelimiter = 1 << 7,     // the `Punctuation` and `BertPreTokenizer` pre-tokenizers cut here
  kBertAccent = 1 << 8,    // `BertNormalizer` strips it
  kBertControl = 1 << 9,   // `BertNormalizer` cleans it away
  kBertSpace = 1 << 10,    // `BertNormalizer` makes it a space
  kWord = 1 << 11,         // \w
  kAccent = 1 << 12,       // `StripAccents` strips it
};

// The classes of every code point, as a two-level table.
class CharClasses {
 public:
  static const CharClasses& instance();
  uint16_t of(char32_t c) const { return pages_[(static_cast<size_t>(index_[c >> 7]) << 7) | (c & 127)]; }
  uint16_t of_ascii(unsigned char c) const { return pages_[c]; }  // c < 128

 private:
  CharClasses();
  uint8_t index_[0x110000 >> 7] = {};
  uint16_t pages_[256 * 128] = {};
};

struct DecodedChar {
  char32_t value;
  uint32_t length;  // bytes
};

// The character at `position`, which must begin one: `text` is valid UTF-8 and position < text.size().
inline DecodedChar decode_char(std::string_view text, size_t position) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data()) + position;
  if (p[0] < 0x80) return {p[0], 1};
  if (p[0] < 0xE0) return {static_cast<char32_t>((p[0] & 31) << 6 | (p[1] & 63)), 2};
  if (p[0] < 0xF0) return {static_cast<char32_t>((p[0] & 15) << 12 | (p[1] & 63) << 6 | (p[2] & 63)), 3};
  return {static_cast<char32_t>((p[0] & 7) << 18 | (p[1] & 63) << 12 | (p[2] & 63) << 6 | (p[3] & 63)), 4};
}

void append_utf8(std::string& out, char32_t c);

// How the bytes at `position` read: a whole character, an invalid part (the longest prefix of a character, at least one
// byte), or the prefix of a character that the end of the text cut off.
enum class Utf8State : uint8_t { kWhole, kInvalid, kCut };
struct Utf8Part {
  Utf8State state;
  uint32_t length;
};
Utf8Part next_utf8_part(std::string_view text, size_t position);

bool is_valid_utf8(std::string_view text);

// U+FFFD for each maximal invalid part, as in WHATWG's decoder (and Python's errors="replace").
std::string replace_invalid_utf8(std::string_view text);

// Normalization forms of valid UTF-8. The result is `text` itself where nothing changes, else a view of `buffer`.
std::string_view to_nfc(std::string_view text, std::string& buffer);
std::string_view to_nfd(std::string_view text, std::string& buffer);

// Unconditional full lower case, character by character.
std::string_view to_lower(std::string_view text, std::string& buffer);

}  // namespace carronade
