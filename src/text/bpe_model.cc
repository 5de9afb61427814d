// Byte-pair encoding over bytes (GPT-2 and its kind) or over characters with byte fallback (SentencePiece and its
// kind).
#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "text/token_model.h"
#include "text/unicode.h"

namespace carronade {

namespace {

// The merges in a form that both kinds of file lead to.
struct RankedMerge {
  TokenId left, right, result;
  int32_t rank;
};

// "left right" → ids. The blank between them is the only one, unless tokens have blanks themselves: then the one that
// makes sense.
RankedMerge parse_merge(const std::string& merge, int32_t rank, const StringIndex& ids) {
  std::string joined;
  for (size_t blank = merge.find(' ', 1); blank != std::string::npos && blank + 1 < merge.size();
       blank = merge.find(' ', blank + 1)) {
    const std::string_view left(merge.data(), blank);
    const std::string_view right(merge.data() + blank + 1, merge.size() - blank - 1);
    joined.assign(left).append(right);
    const RankedMerge result{ids.find(left), ids.find(right), ids.find(joined), rank};
    if (result.left >= 0 && result.right >= 0 && result.result >= 0) return result;
  }
  throw_error(ErrorCode::kCorruptFile, "merge {} of the tokenizer, \"{}\", is not of two tokens that make a third",
              rank, merge);
}

std::vector<RankedMerge> listed_merges(const TokenizerData& data, const StringIndex& ids) {
  std::vector<RankedMerge> merges;
  merges.reserve(data.merges.size());
  for (size_t i = 0; i < data.merges.size(); ++i)
    merges.push_back(parse_merge(data.merges[i], static_cast<int32_t>(i), ids));
  return merges;
}

// Control tokens and bytes are never what ordinary text becomes.
bool may_be_text(const TokenizerData& data, TokenId id) {
  const TokenType type = token_type(data, id);
  return type == TokenType::kNormal || type == TokenType::kUnused;
}

// SentencePiece's files list no merges: whatever two tokens make a token may merge, the best score first. Equal scores
// share a rank, so that the leftmost goes first.
std::vector<RankedMerge> scored_merges(const TokenizerData& data, const StringIndex& ids) {
  if (data.scores.size() != data.tokens.size()) {
    throw_error(ErrorCode::kCorruptFile, "the tokenizer has {} scores for {} tokens", data.scores.size(),
                data.tokens.size());
  }
  std::vector<float> order(data.scores);
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  std::vector<RankedMerge> merges;
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    const std::string_view token = data.tokens[i];
    const auto id = static_cast<TokenId>(i);
    if (!may_be_text(data, id) || ids.find(token) != id) continue;
    const auto at = std::lower_bound(order.begin(), order.end(), data.scores[i], std::greater<>());
    const auto rank = static_cast<int32_t>(at - order.begin());
    for (size_t cut = 1; cut < token.size(); ++cut) {
      if ((static_cast<unsigned char>(token[cut]) & 0xC0) == 0x80) continue;
      const TokenId left = ids.find(token.substr(0, cut));
      const TokenId right = left < 0 ? -1 : ids.find(token.substr(cut));
      if (right >= 0) merges.push_back({left, right, id, rank});
    }
  }
  return merges;
}

StringIndex index_of(const std::vector<std::string>& tokens) {
  StringIndex ids(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) ids.insert(tokens[i], static_cast<TokenId>(i));
  return ids;
}

class BpeModel : public TokenModel {
 public:
  BpeModel(const TokenizerData& data, const TokenizerPipeline& pipeline, const StringIndex& ids)
      : BpeModel(pipeline.merges_by_score ? scored_merges(data, ids) : listed_merges(data, ids)) {
    unknown_ = pipeline.unknown;
    fuse_unknown_ = pipeline.fuse_unknown;
    if (!pipeline.ignore_merges) return;
    whole_ = std::make_unique<Vocabulary>(
        data, pipeline.model == TokenizerPipeline::Model::kByteLevelBpe ? Spelling::kByteLevel : Spelling::kPlain, "",
        "");
    whole_ids_ = std::make_unique<StringIndex>(data.tokens.size());
    for (TokenId id = 0; id < whole_->size(); ++id) {
      const TokenType type = token_type(data, id);
      if (type == TokenType::kNormal || type == TokenType::kUserDefined) whole_ids_->insert(whole_->bytes(id), id);
    }
  }

  void encode(std::string_view text, const std::vector<uint32_t>& ends, EncodeSession& session,
              std::vector<TokenId>& out) const final {
    Merger merger(merges_);
    uint32_t start = 0;
    for (const uint32_t marked_end : ends) {
      const uint32_t end = marked_end & ~kRemovedPiece;
      const std::string_view piece = text.substr(start, end - start);
      start = end;
      if (end != marked_end) continue;
      if (piece.size() > WordCache::kMaxWord) {
        encode_piece(piece, merger, session.symbols, out);
        continue;
      }
      WordCache::Entry& entry = session.cache.slot(piece);
      if (WordCache::holds(entry, piece)) {
        for (uint32_t i = 0; i < entry.count; ++i) out.push_back(out[entry.begin + i]);
        continue;
      }
      const size_t begin = out.size();
      encode_piece(piece, merger, session.symbols, out);
      const size_t count = out.size() - begin;
      // A piece has at most as many tokens as bytes, so they can be counted in a byte.
      if (begin <= UINT32_MAX) entry.set(static_cast<uint32_t>(begin), static_cast<uint8_t>(count), piece);
    }
  }

 protected:
  // The tokens that merging starts from.
  virtual void append_symbols(std::string_view piece, std::vector<TokenId>& symbols) const = 0;

  void append_unknown(std::vector<TokenId>& symbols) const {
    if (unknown_ < 0 || (fuse_unknown_ && !symbols.empty() && symbols.back() == unknown_)) return;
    symbols.push_back(unknown_);
  }

 private:
  explicit BpeModel(const std::vector<RankedMerge>& merges) : merges_(merges.size()) {
    for (const RankedMerge& merge : merges) merges_.insert(merge.left, merge.right, merge.rank, merge.result);
  }

  void encode_piece(std::string_view piece, Merger& merger, std::vector<TokenId>& symbols,
                    std::vector<TokenId>& out) const {
    if (whole_ids_) {
      if (const TokenId id = whole_ids_->find(piece); id >= 0) {
        out.push_back(id);
        return;
      }
    }
    symbols.clear();
    append_symbols(piece, symbols);
    merger.merge(symbols);
    out.insert(out.end(), symbols.begin(), symbols.end());
  }

  MergeTable merges_;
  TokenId unknown_ = -1;
  bool fuse_unknown_ = false;
  std::unique_ptr<const Vocabulary> whole_;  // for ignore_merges
  std::unique_ptr<StringIndex> whole_ids_;
};

class ByteLevelModel final : public BpeModel {
 public:
  ByteLevelModel(const TokenizerData& data, const TokenizerPipeline& pipeline, const StringIndex& ids)
      : BpeModel(data, pipeline, ids) {
    for (int b = 0; b < 256; ++b) {
      byte_ids_[static_cast<size_t>(b)] = ids.find(byte_level_character(static_cast<unsigned char>(b)));
    }
  }

 private:
  void append_symbols(std::string_view piece, std::vector<TokenId>& symbols) const override {
    for (const char c : piece) {
      const TokenId id = byte_ids_[static_cast<unsigned char>(c)];
      if (id >= 0) {
        symbols.push_back(id);
      } else {
        append_unknown(symbols);
      }
    }
  }

  std::array<TokenId, 256> byte_ids_;
};

class CharModel final : public BpeModel {
 public:
  CharModel(const TokenizerData& data, const TokenizerPipeline& pipeline, const StringIndex& ids)
      : BpeModel(data, pipeline, ids) {
    byte_ids_.fill(-1);
    for (size_t i = 0; i < data.tokens.size(); ++i) {
      const std::string& token = data.tokens[i];
      const auto id = static_cast<TokenId>(i);
      if (const int byte = byte_of_spelling(token); byte >= 0 && pipeline.byte_fallback)
        byte_ids_[static_cast<size_t>(byte)] = id;
      if (token.empty() || !may_be_text(data, id) || ids.find(token) != id) continue;
      const Utf8Part part = next_utf8_part(token, 0);
      if (part.state == Utf8State::kWhole && part.length == token.size())
        characters_.emplace(decode_char(token, 0).value, id);
    }
  }

 private:
  void append_symbols(std::string_view piece, std::vector<TokenId>& symbols) const override {
    for (size_t i = 0; i < piece.size();) {
      const DecodedChar c = decode_char(piece, i);
      const std::string_view bytes = piece.substr(i, c.length);
      i += c.length;
      if (const auto it = characters_.find(c.value); it != characters_.end()) {
        symbols.push_back(it->second);
        continue;
      }
      const bool all = std::all_of(bytes.begin(), bytes.end(),
                                   [&](char b) { return byte_ids_[static_cast<unsigned char>(b)] >= 0; });
      if (!all) {
        append_unknown(symbols);
        continue;
      }
      for (const char b : bytes) symbols.push_back(byte_ids_[static_cast<unsigned char>(b)]);
    }
  }

  std::unordered_map<char32_t, TokenId> characters_;
  std::array<TokenId, 256> byte_ids_;
};

}  // namespace

std::unique_ptr<const TokenModel> make_bpe_model(const TokenizerData& data, const TokenizerPipeline& pipeline) {
  const StringIndex ids = index_of(data.tokens);
  if (pipeline.model == TokenizerPipeline::Model::kCharBpe) return std::make_unique<CharModel>(data, pipeline, ids);
  return std::make_unique<ByteLevelModel>(data, pipeline, ids);
}

}  // namespace carronade
