#include "chat/answer.h"

#include <algorithm>
#include <optional>

namespace carronade {

std::string StopMatcher::push(std::string_view text, bool armed) {
  if (stopped_) return {};
  held_ += text;
  if (stop_.empty() || !armed) return std::exchange(held_, {});

  size_t first = std::string::npos;
  for (const auto& stop : stop_) {
    const size_t at = held_.find(stop);
    if (at < first || (at == first && at != std::string::npos && stop.size() < stop_string_.size())) {
      first = at;
      stop_string_ = stop;
    }
  }
  if (first != std::string::npos) {
    stopped_ = true;
    held_.resize(first + (include_stop_ ? stop_string_.size() : 0));
    return std::exchange(held_, {});
  }
  size_t keep = 0;
  for (const auto& stop : stop_) {
    for (size_t size = std::min(held_.size(), stop.size() - 1); size > keep; --size) {
      if (held_.ends_with(std::string_view(stop).substr(0, size))) keep = size;
    }
  }
  std::string certain = held_.substr(0, held_.size() - keep);
  held_.erase(0, certain.size());
  return certain;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

AnswerParser::AnswerParser(const ChatModel& model, AnswerOptions options)
    : tokenizer_(*model.tokenizer),
      options_(std::move(options)),
      // Special tokens are left out below, the marks of a thought are not.
      stream_(tokenizer_, {.stop = {}, .include_stop = false, .show_special_tokens = true}),
      splitter_(model.thought && !options_.plain ? &*model.thought : nullptr, options_.thought_open),
      stop_(options_.stop, options_.include_stop) {
  if (model.thought && !options_.plain) {
    open_token_ = tokenizer_.special_token(model.thought->open);
    close_token_ = tokenizer_.special_token(model.thought->close);
  }
}

void AnswerParser::push(TokenId token, std::vector<AnswerPiece>& out) {
  if (stopped()) return;
  ++tokens_;
  const bool was_thought = splitter_.in_thought();
  const bool mark = token == open_token_ || token == close_token_;
  if (mark || options_.show_special_tokens || !tokenizer_.is_special(token)) split(stream_.push(token), false, out);
  if (was_thought || splitter_.in_thought()) ++thought_tokens_;
}

void AnswerParser::finish(std::vector<AnswerPiece>& out) {
  if (stopped()) return;
  split(stream_.finish(), true, out);
}

void AnswerParser::split(std::string_view text, bool at_end, std::vector<AnswerPiece>& out) {
  std::vector<AnswerPiece> pieces;
  splitter_.push(text, pieces);
  if (at_end) splitter_.finish(pieces);
  const bool armed = tokens_ >= options_.min_tokens;
  for (auto& piece : pieces) {
    if (!piece.is_thought) piece.text = stop_.push(piece.text, armed);
    if (!piece.text.empty()) out.push_back(std::move(piece));
  }
  if (at_end && !stopped()) {
    if (std::string rest = stop_.finish(); !rest.empty()) out.push_back({false, std::move(rest)});
  }
}

namespace {

class StopConstraint : public Constraint {
 public:
  StopConstraint(const ChatModel& model, AnswerOptions options) : model_(model), options_(std::move(options)) {
    restart();
  }

  bool fill_mask(std::span<uint32_t>) override { return false; }

  Verdict accept(int32_t token) override {
    accepted_.push_back(token);
    scratch_.clear();
    parser_->push(token, scratch_);
    if (parser_->stopped()) return Stop{};
    return Continue{};
  }

  void rollback(int n) override {
    accepted_.resize(accepted_.size() - std::min(accepted_.size(), static_cast<size_t>(std::max(n, 0))));
    restart();
    for (const TokenId token : accepted_) parser_->push(token, scratch_);
  }

 private:
  void restart() { parser_.emplace(model_, options_); }

  const ChatModel& model_;
  AnswerOptions options_;
  std::vector<TokenId> accepted_;
  std::optional<AnswerParser> parser_;
  std::vector<AnswerPiece> scratch_;
};

}  // namespace

std::unique_ptr<Constraint> make_stop_constraint(const ChatModel& model, const AnswerOptions& options) {
  if (options.stop.empty()) return nullptr;
  return std::make_unique<StopConstraint>(model, options);
}

}  // namespace carronade
