#include "text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/pipeline.h"
#include "text/token_model.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace carronade {

namespace {

// Offsets inside of a text are 32 bits wide.
constexpr size_t kMaxTextBytes = size_t{1} << 30;

void check_id(TokenId id, size_t size, std::string_view name) {
  if (id < -1 || id >= static_cast<int64_t>(size)) {
    throw_error(ErrorCode::kCorruptFile, "the tokenizer's {} token is {}, but it has {} tokens", name, id, size);
  }
}

void check(const TokenizerData& data) {
  const size_t size = data.tokens.size();
  if (size == 0) throw_error(ErrorCode::kCorruptFile, "the tokenizer has no tokens");
  if (size > INT32_MAX)
    throw_error(ErrorCode::kCorruptFile, "the tokenizer has {} tokens; 2^31 - 1 are possible", size);
  if (!data.types.empty() && data.types.size() != size) {
    throw_error(ErrorCode::kCorruptFile, "the tokenizer has {} token types for {} tokens", data.types.size(), size);
  }
  check_id(data.bos, size, "begin");
  check_id(data.eos, size, "end");
  check_id(data.unknown, size, "unknown");
  check_id(data.padding, size, "padding");
}

Spelling spelling_of(TokenizerPipeline::Model model) {
  switch (model) {
    case TokenizerPipeline::Model::kByteLevelBpe:
      return Spelling::kByteLevel;
    case TokenizerPipeline::Model::kCharBpe:
      return Spelling::kSentencePiece;
    case TokenizerPipeline::Model::kWordPiece:
      return Spelling::kWordPiece;
  }
  return Spelling::kPlain;
}

class PipelineTokenizer final : public Tokenizer {
 public:
  PipelineTokenizer(TokenizerData data, std::shared_ptr<const TokenizerPipeline> pipeline)
      : data_(std::move(data)),
        pipeline_(std::move(pipeline)),
        vocabulary_(data_, spelling_of(pipeline_->model), pipeline_->word_start, pipeline_->continuation),
        before_(added(false)),
        after_(added(true)),
        special_index_(pipeline_->added.size()) {
    model_ = pipeline_->model == TokenizerPipeline::Model::kWordPiece ? make_wordpiece_model(data_, *pipeline_)
                                                                      : make_bpe_model(data_, *pipeline_);
    special_.resize(data_.tokens.size());
    for (const AddedToken& token : pipeline_->added) {
      special_index_.insert(token.content, token.id);
      if (token.special) special_[static_cast<size_t>(token.id)] = true;
    }
    for (size_t i = 0; i < data_.types.size(); ++i) {
      const TokenType type = data_.types[i];
      if (type == TokenType::kControl || type == TokenType::kUnknown) special_[i] = true;
    }
    data_.tokens = {};
    data_.merges = {};
    data_.scores = {};
  }

  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options) const override {
    if (text.size() > kMaxTextBytes) {
      throw_error(ErrorCode::kTooLarge, "the text has {} bytes; at most {} can be tokenized at once", text.size(),
                  kMaxTextBytes);
    }
    std::vector<TokenId> out;
    out.reserve(text.size() / 3 + 4);
    if (options.add_special) out.insert(out.end(), pipeline_->prefix.begin(), pipeline_->prefix.end());
    std::string valid;
    if (!is_valid_utf8(text)) text = valid = replace_invalid_utf8(text);
    EncodeSession session(text.size());
    std::vector<AddedTokenMatcher::Segment> segments;
    before_.partition(text, options.parse_special, segments);
    for (const auto& segment : segments) {
      if (segment.token) {
        out.push_back(segment.token->id);
      } else {
        encode_text(segment.text, segment.text.data() == text.data(), options, session, out);
      }
    }
    if (options.add_special) out.insert(out.end(), pipeline_->suffix.begin(), pipeline_->suffix.end());
    return out;
  }

  std::string_view token_bytes(TokenId id) const override { return vocabulary_.bytes(id); }

  bool is_special(TokenId id) const override {
    return id >= 0 && id < vocabulary_size() && special_[static_cast<size_t>(id)];
  }

  TokenId special_token(std::string_view spelling) const override { return special_index_.find(spelling); }
  int vocabulary_size() const override { return vocabulary_.size(); }
  const TokenizerData& data() const override { return data_; }

 private:
  std::vector<const AddedToken*> added(bool normalized) const {
    std::vector<const AddedToken*> tokens;
    for (const AddedToken& token : pipeline_->added) {
      const bool changes = !pipeline_->normalizers.empty() && token.normalized;
      if (changes == normalized) tokens.push_back(&token);
    }
    return tokens;
  }

  void encode_text(std::string_view text, bool first, const EncodeOptions& options, EncodeSession& session,
                   std::vector<TokenId>& out) const {
    std::string buffer;
    for (const auto& normalizer : pipeline_->normalizers) text = normalizer->apply(text, first, buffer);
    if (after_.empty()) {
      encode_normalized(text, session, out);
      return;
    }
    std::vector<AddedTokenMatcher::Segment> segments;
    after_.partition(text, options.parse_special, segments);
    for (const auto& segment : segments) {
      if (segment.token) {
        out.push_back(segment.token->id);
      } else {
        encode_normalized(segment.text, session, out);
      }
    }
  }

  void encode_normalized(std::string_view text, EncodeSession& session, std::vector<TokenId>& out) const {
    if (text.empty()) return;
    session.ends.assign(1, static_cast<uint32_t>(text.size()));
    for (size_t i = 0; i < pipeline_->splitters.size(); ++i) {
      std::swap(session.ends, session.ends_before);
      session.ends.clear();
      uint32_t start = 0;
      for (const uint32_t end : session.ends_before) {
        if (end & kRemovedPiece) {
          session.ends.push_back(end);
        } else {
          pipeline_->splitters[i]->split(text.substr(start, end - start), start, session.ends);
        }
        start = end & ~kRemovedPiece;
      }
    }
    model_->encode(text, session.ends, session, out);
  }

  TokenizerData data_;
  std::shared_ptr<const TokenizerPipeline> pipeline_;
  Vocabulary vocabulary_;
  AddedTokenMatcher before_, after_;  // the normalizers
  StringIndex special_index_;
  std::vector<bool> special_;  // [vocabulary]
  std::unique_ptr<const TokenModel> model_;
};

}  // namespace

std::unique_ptr<const Tokenizer> Tokenizer::create(TokenizerData data) {
  check(data);
  std::shared_ptr<const TokenizerPipeline> pipeline = data.pipeline;
  if (!pipeline) pipeline = std::make_shared<const TokenizerPipeline>(pipeline_from_names(data));
  return std::make_unique<PipelineTokenizer>(std::move(data), std::move(pipeline));
}

}  // namespace carronade
