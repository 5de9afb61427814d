// Small vocabularies for tests and fuzz targets.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace carronade {

// A byte-level BPE of all 256 bytes (ids 0 to 255), what `merges` make (256 and on), and <|a|> (control), <|b|>
// (control), <t> (user-defined).
inline TokenizerData tiny_byte_level(std::string_view pre, const std::vector<std::string>& merges) {
  TokenizerData data;
  data.model = "gpt2";
  data.pre = pre;
  for (int b = 0; b < 256; ++b) data.tokens.emplace_back(byte_level_character(static_cast<unsigned char>(b)));
  for (const std::string& merge : merges) {
    data.merges.push_back(merge);
    std::string joined = merge;
    joined.erase(joined.find(' ', 1), 1);
    data.tokens.push_back(joined);
  }
  data.types.assign(data.tokens.size(), TokenType::kNormal);
  for (const char* token : {"<|a|>", "<|b|>", "<t>"}) data.tokens.emplace_back(token);
  data.types.insert(data.types.end(), {TokenType::kControl, TokenType::kControl, TokenType::kUserDefined});
  return data;
}

// SentencePiece's way: <unk> <s> </s>, 256 bytes, then `words` with falling scores.
inline TokenizerData tiny_sentence_piece(const std::vector<std::string>& words) {
  TokenizerData data;
  data.model = "llama";
  const auto add = [&](std::string text, TokenType type, float score) {
    data.tokens.push_back(std::move(text));
    data.types.push_back(type);
    data.scores.push_back(score);
  };
  add("<unk>", TokenType::kUnknown, 0);
  add("<s>", TokenType::kControl, 0);
  add("</s>", TokenType::kControl, 0);
  for (int b = 0; b < 256; ++b) {
    constexpr char kHex[] = "0123456789ABCDEF";
    add(std::string("<0x") + kHex[b / 16] + kHex[b % 16] + ">", TokenType::kByte, 0);
  }
  for (size_t i = 0; i < words.size(); ++i) add(words[i], TokenType::kNormal, -static_cast<float>(i));
  data.unknown = 0;
  data.bos = 1;
  data.eos = 2;
  data.add_bos = true;
  return data;
}

// WordPiece as GGUF spells it: [PAD] [UNK] [CLS] [SEP], then `words`.
inline TokenizerData tiny_word_piece(const std::vector<std::string>& words) {
  TokenizerData data;
  data.model = "bert";
  data.tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"};
  data.types.assign(data.tokens.size(), TokenType::kControl);
  data.tokens.insert(data.tokens.end(), words.begin(), words.end());
  data.types.resize(data.tokens.size(), TokenType::kNormal);
  return data;
}

}  // namespace carronade
