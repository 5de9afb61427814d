#include "text/pipeline.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "text/normalizers.h"
#include "text/vocabulary.h"

namespace carronade {

namespace {

std::vector<AddedToken> added_tokens(const TokenizerData& data) {
  std::vector<AddedToken> added;
  for (size_t i = 0; i < data.types.size(); ++i) {
    const TokenType type = data.types[i];
    const bool special = type == TokenType::kControl || type == TokenType::kUnknown;
    if (!special && type != TokenType::kUserDefined) continue;
    added.push_back({.content = data.tokens[i], .id = static_cast<TokenId>(i), .special = special});
  }
  return added;
}

void byte_level(const TokenizerData& data, TokenizerPipeline& pipeline) {
  pipeline.model = TokenizerPipeline::Model::kByteLevelBpe;
  pipeline.splitters = splitters_by_name(data.pre);
  if (pipeline.splitters.empty()) {
    throw_error(ErrorCode::kUnsupported,
                "the tokenizer splits text in a way named '{}', which is not known here; known are {}", data.pre,
                known_splitter_names());
  }
  for (const std::string_view name : {"qwen2", "deepseek-r1-qwen", "command-r"}) {
    if (data.pre == name) pipeline.normalizers.push_back(make_nfc_normalizer());
  }
  for (const std::string_view name : {"llama-bpe", "llama3", "llama-v3"}) {
    if (data.pre == name) pipeline.ignore_merges = true;
  }
}

constexpr const char* kLowBlock = "\xE2\x96\x81";  // U+2581, SentencePiece's space

void sentence_piece(const TokenizerData& data, TokenizerPipeline& pipeline) {
  pipeline.model = TokenizerPipeline::Model::kCharBpe;
  pipeline.byte_fallback = true;
  pipeline.merges_by_score = true;
  pipeline.unknown = data.unknown;
  // Every stretch of text starts anew behind an added token, so each gets its space.
  if (data.add_space_prefix) pipeline.normalizers.push_back(make_prepend_normalizer(kLowBlock, false, false));
  pipeline.normalizers.push_back(make_replace_normalizer(" ", kLowBlock));
  split_at_words_where_safe(data, pipeline);
}

TokenId find_token(const TokenizerData& data, std::string_view spelling) {
  const auto it = std::find(data.tokens.begin(), data.tokens.end(), spelling);
  return it == data.tokens.end() ? -1 : static_cast<TokenId>(it - data.tokens.begin());
}

void word_piece(const TokenizerData& data, TokenizerPipeline& pipeline) {
  pipeline.model = TokenizerPipeline::Model::kWordPiece;
  pipeline.word_start = kLowBlock;  // the converter to GGUF turns "##ing" into "ing" and "word" into "U+2581 word"
  pipeline.max_word_characters = 100;
  pipeline.unknown = data.unknown >= 0 ? data.unknown : find_token(data, "[UNK]");
  pipeline.normalizers.push_back(make_bert_normalizer({.strip_accents = data.lowercase, .lowercase = data.lowercase}));
  pipeline.splitters.push_back(make_bert_splitter());
  const TokenId begin = data.bos >= 0 ? data.bos : find_token(data, "[CLS]");
  const TokenId end = data.eos >= 0 ? data.eos : find_token(data, "[SEP]");
  if (begin >= 0) pipeline.prefix.push_back(begin);
  if (end >= 0) pipeline.suffix.push_back(end);
}

}  // namespace

void split_at_words_where_safe(const TokenizerData& data, TokenizerPipeline& pipeline) {
  const std::string_view mark = kLowBlock;
  bool known = false;
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const TokenType type = token_type(data, static_cast<TokenId>(i));
    if (type != TokenType::kNormal && type != TokenType::kUnused) continue;
    const std::string_view token = data.tokens[i];
    known = known || token == mark;
    for (size_t at = token.find(mark, 1); at != std::string_view::npos; at = token.find(mark, at + 1)) {
      if (at < mark.size() || token.substr(at - mark.size(), mark.size()) != mark) return;
    }
  }
  if (known) pipeline.splitters.push_back(make_before_splitter(std::string(mark)));
}

TokenizerPipeline pipeline_from_names(const TokenizerData& data) {
  TokenizerPipeline pipeline;
  pipeline.added = added_tokens(data);
  if (data.model == "gpt2") {
    byte_level(data, pipeline);
  } else if (data.model == "llama") {
    sentence_piece(data, pipeline);
  } else if (data.model == "bert") {
    word_piece(data, pipeline);
    return pipeline;
  } else {
    throw_error(ErrorCode::kUnsupported,
                "the tokenizer is of a kind named '{}', which is not known here; known are gpt2, llama and bert",
                data.model);
  }
  if (data.add_bos && data.bos >= 0) pipeline.prefix.push_back(data.bos);
  if (data.add_eos && data.eos >= 0) pipeline.suffix.push_back(data.eos);
  return pipeline;
}

}  // namespace carronade
