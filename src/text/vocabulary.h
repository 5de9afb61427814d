// The tokens of a tokenizer: their bytes by id, their ids by bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace carronade {

// From strings to ids; the strings lie elsewhere and must outlive it. Immutable after filling, so any thread may look
// up.
class StringIndex {
 public:
  explicit StringIndex(size_t expected);

  void insert(std::string_view text, TokenId id);  // the first of equal strings stays
  TokenId find(std::string_view text) const;       // or -1

 private:
  struct Entry {
    std::string_view text;
    uint32_t hash = 0;
    TokenId id = -1;
  };
  std::vector<Entry> entries_;
  size_t mask_;
};

uint64_t hash_bytes(std::string_view bytes);

// How files spell the bytes of a token.
enum class Spelling : uint8_t {
  kPlain,          // as they are
  kByteLevel,      // GPT-2's: one printable character a byte
  kSentencePiece,  // U+2581 for a space, <0xNN> for a byte
  kWordPiece,      // a space before a word, nothing before what continues one
};

// Immutable once made, so any thread may use it.
class Vocabulary {
 public:
  Vocabulary(const TokenizerData& data, Spelling spelling, std::string_view word_start, std::string_view continuation);

  std::string_view bytes(TokenId id) const {
    if (id < 0 || id >= size()) return {};
    const size_t i = static_cast<size_t>(id);
    return {arena_.data() + offsets_[i], offsets_[i + 1] - offsets_[i]};
  }
  int size() const { return static_cast<int>(offsets_.size()) - 1; }

 private:
  std::string arena_;
  std::vector<uint32_t> offsets_;  // [vocabulary + 1]
};

TokenType token_type(const TokenizerData& data, TokenId id);

// The value of a token spelled <0xNN>, or -1.
int byte_of_spelling(std::string_view token);

// GPT-2's character for a byte, in UTF-8 (one or two bytes).
std::string_view byte_level_character(unsigned char byte);

}  // namespace carronade
