#include "chat/thinking_budget.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "chat/answer.h"

namespace carronade {
namespace {

class ThinkingConstraint : public Constraint {
 public:
  ThinkingConstraint(const ChatModel& model, ThinkingLimit limit)
      : model_(model), limit_(std::move(limit)), ending_(thought_ending(model)) {
    restart();
  }

  bool fill_mask(std::span<uint32_t>) override { return false; }

  Verdict accept(int32_t token) override {
    accepted_.push_back(token);
    push(token);
    if (forced_ || !in_thought_) return Continue{};
    const bool used_up = limit_.budget >= 0 && thought_tokens_ >= limit_.budget;
    if (!used_up && !(limit_.answer_now && limit_.answer_now->load(std::memory_order_relaxed))) return Continue{};
    forced_ = true;
    return Force{ending_};
  }

  void rollback(int n) override {
    accepted_.resize(accepted_.size() - std::min(accepted_.size(), static_cast<size_t>(std::max(n, 0))));
    restart();
    for (const TokenId token : accepted_) push(token);
    forced_ = forced_ && in_thought_;
  }

 private:
  void restart() {
    AnswerOptions options;
    options.thought_open = limit_.thought_open;
    parser_.emplace(model_, std::move(options));
    in_thought_ = limit_.thought_open;
    thought_tokens_ = 0;
  }

  // The parser, which the answer's reader uses too, tells what is thought.
  void push(TokenId token) {
    scratch_.clear();
    const bool was_in_thought = in_thought_;
    parser_->push(token, scratch_);
    in_thought_ = parser_->in_thought();
    if (was_in_thought && in_thought_) ++thought_tokens_;
  }

  const ChatModel& model_;
  ThinkingLimit limit_;
  std::vector<TokenId> ending_, accepted_;
  std::optional<AnswerParser> parser_;
  std::vector<AnswerPiece> scratch_;
  bool in_thought_ = false, forced_ = false;
  int thought_tokens_ = 0;
};

class CombinedConstraint : public Constraint {
 public:
  explicit CombinedConstraint(std::vector<std::unique_ptr<Constraint>> parts) : parts_(std::move(parts)) {}

  bool fill_mask(std::span<uint32_t> mask) override {
    bool forbids = false;
    for (const auto& part : parts_) forbids |= part->fill_mask(mask);
    return forbids;
  }
  Verdict accept(int32_t token) override {
    Verdict result = Continue{};
    for (const auto& part : parts_) {
      Verdict verdict = part->accept(token);
      if (std::holds_alternative<Stop>(verdict) || std::holds_alternative<Continue>(result)) {
        if (!std::holds_alternative<Stop>(result)) result = std::move(verdict);
      }
    }
    return result;
  }
  void rollback(int n) override {
    for (const auto& part : parts_) part->rollback(n);
  }

 private:
  std::vector<std::unique_ptr<Constraint>> parts_;
};

}  // namespace

std::vector<TokenId> thought_ending(const ChatModel& model) {
  if (!model.thought) return {};
  return model.tokenizer->encode("\n" + model.thought->close + "\n\n", {.add_special = false, .parse_special = true});
}

std::unique_ptr<Constraint> make_thinking_constraint(const ChatModel& model, const ThinkingLimit& limit) {
  if (!model.thought || (limit.budget < 0 && !limit.answer_now)) return nullptr;
  return std::make_unique<ThinkingConstraint>(model, limit);
}

std::unique_ptr<Constraint> combine_constraints(std::vector<std::unique_ptr<Constraint>> constraints) {
  std::erase(constraints, nullptr);
  if (constraints.empty()) return nullptr;
  if (constraints.size() == 1) return std::move(constraints.front());
  return std::make_unique<CombinedConstraint>(std::move(constraints));
}

}  // namespace carronade
