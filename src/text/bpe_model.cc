// Byte-pair encoding over bytes (GPT-2 and its kind) or over characters with byte fallback (SentencePiece and its
// kind).
#include <algorithm>
#include <array>
#include <numeric>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "text/merge_borders.h"
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
    whole_ = std::make_unique<Vocabulary>(data, spelling(pipeline), "", "");
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
      encode_remembered(piece, WordCache::Kind::kPiece, merger, session, out);
    }
  }

 protected:
  // The tokens that merging starts from.
  virtual void append_symbols(std::string_view piece, std::vector<TokenId>& symbols) const = 0;

  static Spelling spelling(const TokenizerPipeline& pipeline) {
    const bool bytes = pipeline.model == TokenizerPipeline::Model::kByteLevelBpe;
    return bytes ? Spelling::kByteLevel : Spelling::kPlain;
  }

  // Where the symbols of a piece are its bytes, one each.
  void learn_borders(const TokenizerData& data) {
    const Vocabulary vocabulary(data, Spelling::kByteLevel, "", "");
    borders_ = std::make_unique<MergeBorders>();
    for (TokenId id = 0; id < vocabulary.size(); ++id) borders_->add(vocabulary.bytes(id));
  }

  void append_unknown(std::vector<TokenId>& symbols) const {
    if (unknown_ < 0 || (fuse_unknown_ && !symbols.empty() && symbols.back() == unknown_)) return;
    symbols.push_back(unknown_);
  }

 private:
  explicit BpeModel(const std::vector<RankedMerge>& merges) : merges_(merges.size()) {
    for (const RankedMerge& merge : merges) merges_.insert(merge.left, merge.right, merge.rank, merge.result);
  }

  // As encode_new(), but what was seen before is copied from the output.
  void encode_remembered(std::string_view text, WordCache::Kind kind, Merger& merger, EncodeSession& session,
                         std::vector<TokenId>& out) const {
    if (text.size() > WordCache::kMaxWord) {
      encode_new(text, kind, merger, session, out);
      return;
    }
    const WordCache::Entry& entry = session.cache.slot(text);
    if (WordCache::holds(entry, text, kind)) {
      for (uint32_t i = 0; i < entry.count; ++i) out.push_back(out[entry.begin + i]);
      return;
    }
    const size_t begin = out.size();
    encode_new(text, kind, merger, session, out);
    // A text has at most as many tokens as bytes, so they can be counted in a byte.
    const auto count = static_cast<uint8_t>(out.size() - begin);
    if (begin <= UINT32_MAX) session.cache.slot(text).set(static_cast<uint32_t>(begin), count, text, kind);
  }

  void encode_new(std::string_view text, WordCache::Kind kind, Merger& merger, EncodeSession& session,
                  std::vector<TokenId>& out) const {
    if (kind == WordCache::Kind::kPiece) {
      if (const TokenId id = whole_ids_ ? whole_ids_->find(text) : -1; id >= 0) {
        out.push_back(id);
        return;
      }
      if (borders_ && borders_->stretch_end(text, 0) < text.size()) {
        encode_stretches(text, merger, session, out);
        return;
      }
    }
    session.symbols.clear();
    append_symbols(text, session.symbols);
    merger.merge(session.symbols);
    out.insert(out.end(), session.symbols.begin(), session.symbols.end());
  }

  void encode_stretches(std::string_view piece, Merger& merger, EncodeSession& session,
                        std::vector<TokenId>& out) const {
    for (size_t start = 0, end = 0; start < piece.size(); start = end) {
      end = borders_->stretch_end(piece, start);
      encode_remembered(piece.substr(start, end - start), WordCache::Kind::kStretch, merger, session, out);
    }
  }

  MergeTable merges_;
  TokenId unknown_ = -1;
  bool fuse_unknown_ = false;
  std::unique_ptr<const Vocabulary> whole_;  // for ignore_merges
  std::unique_ptr<StringIndex> whole_ids_;
  std::unique_ptr<MergeBorders> borders_;  // or nullptr: pieces are merged whole
};

class ByteLevelModel final : public BpeModel {
 public:
  ByteLevelModel(const TokenizerData& data, const TokenizerPipeline& pipeline, const StringIndex& ids)
      : BpeModel(data, pipeline, ids) {
    for (int b = 0; b < 256; ++b) {
      byte_ids_[static_cast<size_t>(b)] = ids.find(byte_level_character(static_cast<unsigned char>(b)));
    }
    // A byte without a token is left out, and its neighbours meet.
    if (std::none_of(byte_ids_.begin(), byte_ids_.end(), [](TokenId id) { return id < 0; })) learn_borders(data);
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
