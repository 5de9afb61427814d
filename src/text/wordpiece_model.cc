// WordPiece: each word by its longest known beginning, again and again. Source: Devlin et al., "BERT" (2018), and its
// published tokenizer.
#include <algorithm>
#include <string>

#include "base/error.h"
#include "text/token_model.h"
#include "text/unicode.h"

namespace carronade {

namespace {

class WordPieceModel final : public TokenModel {
 public:
  WordPieceModel(const TokenizerData& data, const TokenizerPipeline& pipeline)
      : max_characters_(pipeline.max_word_characters),
        unknown_(pipeline.unknown),
        vocabulary_(data, Spelling::kPlain, "", ""),
        starts_(data.tokens.size()),
        continues_(data.tokens.size()) {
    const bool gguf = !pipeline.word_start.empty();
    for (TokenId id = 0; id < vocabulary_.size(); ++id) {
      std::string_view token = vocabulary_.bytes(id);
      const std::string_view mark = gguf ? pipeline.word_start : pipeline.continuation;
      const bool marked = !mark.empty() && token.size() > mark.size() && token.starts_with(mark);
      if (marked) token.remove_prefix(mark.size());
      longest_ = std::max(longest_, token.size());
      (marked == gguf ? starts_ : continues_).insert(token, id);
    }
  }

  void encode(std::string_view text, const std::vector<uint32_t>& ends, EncodeSession&,
              std::vector<TokenId>& out) const override {
    uint32_t start = 0;
    for (const uint32_t marked_end : ends) {
      const uint32_t end = marked_end & ~kRemovedPiece;
      if (end == marked_end) encode_word(text.substr(start, end - start), out);
      start = end;
    }
  }

 private:
  void encode_word(std::string_view word, std::vector<TokenId>& out) const {
    const size_t before = out.size();
    const auto characters =
        std::count_if(word.begin(), word.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
    bool known = max_characters_ == 0 || static_cast<size_t>(characters) <= max_characters_;
    for (size_t at = 0; known && at < word.size();) {
      size_t length = std::min(word.size() - at, longest_);
      TokenId id = -1;
      for (; length > 0; --length) {
        if (at + length < word.size() && (static_cast<unsigned char>(word[at + length]) & 0xC0) == 0x80) continue;
        id = (at == 0 ? starts_ : continues_).find(word.substr(at, length));
        if (id >= 0) break;
      }
      known = id >= 0;
      if (known) out.push_back(id);
      at += length;
    }
    if (known) return;
    out.resize(before);
    if (unknown_ >= 0) out.push_back(unknown_);
  }

  size_t max_characters_;
  TokenId unknown_;
  Vocabulary vocabulary_;  // where the strings of the indices lie
  StringIndex starts_, continues_;
  size_t longest_ = 0;  // bytes of a token
};

}  // namespace

std::unique_ptr<const TokenModel> make_wordpiece_model(const TokenizerData& data, const TokenizerPipeline& pipeline) {
  return std::make_unique<WordPieceModel>(data, pipeline);
}

}  // namespace carronade
