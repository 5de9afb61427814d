#include "text/vocabulary.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "text/unicode.h"

namespace carronade {

uint64_t hash_bytes(std::string_view bytes) {
  constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15ull;
  uint64_t hash = bytes.size() * kMultiplier;
  const char* p = bytes.data();
  size_t left = bytes.size();
  const auto mix = [&](uint64_t value) {
    hash = (hash ^ value) * kMultiplier;
    hash ^= hash >> 29;
  };
  for (uint64_t value = 0; left >= 8; p += 8, left -= 8) {
    std::memcpy(&value, p, 8);
    mix(value);
  }
  if (left > 0) {
    uint64_t value = 0;
    std::memcpy(&value, p, left);
    mix(value);
  }
  return hash * kMultiplier;
}

StringIndex::StringIndex(size_t expected) {
  const size_t size = std::bit_ceil(std::max<size_t>(16, expected * 2));
  entries_.resize(size);
  mask_ = size - 1;
}

void StringIndex::insert(std::string_view text, TokenId id) {
  const auto hash = static_cast<uint32_t>(hash_bytes(text) >> 32);
  size_t i = hash & mask_;
  for (; entries_[i].id >= 0; i = (i + 1) & mask_) {
    if (entries_[i].hash == hash && entries_[i].text == text) return;
  }
  entries_[i] = {text, hash, id};
}

TokenId StringIndex::find(std::string_view text) const {
  const auto hash = static_cast<uint32_t>(hash_bytes(text) >> 32);
  for (size_t i = hash & mask_; entries_[i].id >= 0; i = (i + 1) & mask_) {
    if (entries_[i].hash == hash && entries_[i].text == text) return entries_[i].id;
  }
  return -1;
}

namespace {

constexpr std::string_view kLowBlock = "\xE2\x96\x81";  // U+2581, SentencePiece's space

// GPT-2's table: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and on.
struct ByteLevelTable {
  std::array<char32_t, 256> character;
  std::array<int16_t, 324> byte;  // by character, or -1
  std::array<std::string, 256> utf8;

  ByteLevelTable() {
    byte.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      const auto i = static_cast<size_t>(b);
      character[i] = printable ? static_cast<char32_t>(b) : next++;
      byte[character[i]] = static_cast<int16_t>(b);
      append_utf8(utf8[i], character[i]);
    }
  }
  static const ByteLevelTable& instance() {
    static const ByteLevelTable table;
    return table;
  }
};

void append_byte_level(std::string_view token, std::string& out) {
  const ByteLevelTable& table = ByteLevelTable::instance();
  for (size_t i = 0; i < token.size();) {
    const Utf8Part part = next_utf8_part(token, i);
    const char32_t c = part.state == Utf8State::kWhole ? decode_char(token, i).value : 0;
    if (part.state == Utf8State::kWhole && c < table.byte.size() && table.byte[c] >= 0) {
      out.push_back(static_cast<char>(table.byte[c]));
    } else {
      out.append(token.substr(i, part.length));  // no byte: as it stands
    }
    i += part.length;
  }
}

void append_sentence_piece(std::string_view token, TokenType type, std::string& out) {
  const int byte = type == TokenType::kByte || type == TokenType::kNormal ? byte_of_spelling(token) : -1;
  if (byte >= 0) {
    out.push_back(static_cast<char>(byte));
    return;
  }
  for (size_t i = 0; i < token.size();) {
    if (token.substr(i, kLowBlock.size()) == kLowBlock) {
      out.push_back(' ');
      i += kLowBlock.size();
    } else {
      out.push_back(token[i++]);
    }
  }
}

}  // namespace

std::string_view byte_level_character(unsigned char byte) { return ByteLevelTable::instance().utf8[byte]; }

int byte_of_spelling(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    if (c >= '0' && c <= '9') {
      value = value * 16 + (c - '0');
    } else if (c >= 'A' && c <= 'F') {
      value = value * 16 + (c - 'A' + 10);
    } else {
      return -1;
    }
  }
  return value;
}

TokenType token_type(const TokenizerData& data, TokenId id) {
  return data.types.empty() ? TokenType::kNormal : data.types[static_cast<size_t>(id)];
}

Vocabulary::Vocabulary(const TokenizerData& data, Spelling spelling, std::string_view word_start,
                       std::string_view continuation) {
  size_t total = 0;
  for (const std::string& token : data.tokens) total += token.size();
  if (total > UINT32_MAX)
    throw_error(ErrorCode::kTooLarge, "the vocabulary has {} bytes of tokens; 4 GB are possible", total);
  arena_.reserve(total);
  offsets_.reserve(data.tokens.size() + 1);
  offsets_.push_back(0);
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const std::string_view token = data.tokens[i];
    const TokenType type = token_type(data, static_cast<TokenId>(i));
    const bool literal = type == TokenType::kControl || type == TokenType::kUserDefined || type == TokenType::kUnknown;
    if (literal || spelling == Spelling::kPlain) {
      arena_.append(token);
    } else if (spelling == Spelling::kByteLevel) {
      append_byte_level(token, arena_);
    } else if (spelling == Spelling::kSentencePiece) {
      append_sentence_piece(token, type, arena_);
    } else if (!continuation.empty() && token.starts_with(continuation)) {
      arena_.append(token.substr(continuation.size()));
    } else if (token.starts_with(word_start) && (!word_start.empty() || !continuation.empty())) {
      arena_.push_back(' ');
      arena_.append(token.substr(word_start.size()));
    } else {
      arena_.append(token);
    }
    offsets_.push_back(static_cast<uint32_t>(arena_.size()));
  }
}

}  // namespace carronade
