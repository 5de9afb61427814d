#include "chat/thinking_budget.h"

#include <gtest/gtest.h>

#include "chat/testing.h"

namespace carronade {
namespace {

class ThinkingBudgetTest : public testing::Test {
 protected:
  // What comes out when the model would write `script`, under the constraint.
  std::string write(std::string_view script, const ThinkingLimit& limit, int answer_now_after = -1) {
    const auto constraint = make_thinking_constraint(*model_, limit);
    std::string text;
    std::vector<TokenId> coming = test_tokens(script);
    for (size_t i = 0; i < coming.size(); ++i) {
      if (static_cast<int>(i) == answer_now_after) answer_now_->store(true);
      const TokenId token = coming[i];
      text += model_->tokenizer->token_bytes(token);
      const Constraint::Verdict verdict = constraint->accept(token);
      if (const auto* force = std::get_if<Constraint::Force>(&verdict)) {
        for (const TokenId forced : force->tokens) {
          text += model_->tokenizer->token_bytes(forced);
          EXPECT_TRUE(std::holds_alternative<Constraint::Continue>(constraint->accept(forced)));
        }
        text += "|";
      }
    }
    return text;
  }

  std::shared_ptr<std::atomic<bool>> answer_now_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<ChatModel> model_ = make_test_model(std::make_shared<ScriptedGenerator>(std::vector<TokenId>{}));
};

TEST_F(ThinkingBudgetTest, ForcesTheEndingAfterSoManyTokens) {
  EXPECT_EQ(write("<think>abcdef", {3}), "<think>abc\n</think>\n\n|def");
  EXPECT_EQ(write("abcdef", {2, true}), "ab\n</think>\n\n|cdef");
}

TEST_F(ThinkingBudgetTest, LeavesAloneWhatEndsByItself) {
  EXPECT_EQ(write("<think>ab</think>cdef", {3}), "<think>ab</think>cdef");
  EXPECT_EQ(write("an answer without a thought", {3}), "an answer without a thought");
  EXPECT_EQ(write("ab</think>c<think>defgh", {3, true}), "ab</think>c<think>defgh");
}

TEST_F(ThinkingBudgetTest, AnswersNowWhenTold) {
  EXPECT_EQ(write("<think>abcdef", {-1, false, answer_now_}, 3), "<think>abc\n</think>\n\n|def");
  answer_now_->store(false);
  EXPECT_EQ(write("<think>ab</think>cdef", {-1, false, answer_now_}, 5), "<think>ab</think>cdef");
}

TEST_F(ThinkingBudgetTest, RollbackTakesTokensBack) {
  const auto constraint = make_thinking_constraint(*model_, {3, true});
  constraint->accept('a');
  constraint->accept('b');
  constraint->rollback(1);
  EXPECT_TRUE(std::holds_alternative<Constraint::Continue>(constraint->accept('c')));
  EXPECT_TRUE(std::holds_alternative<Constraint::Force>(constraint->accept('d')));
}

TEST_F(ThinkingBudgetTest, AModelThatDoesNotThinkHasNone) {
  model_->thought.reset();
  EXPECT_EQ(make_thinking_constraint(*model_, {3}), nullptr);
  EXPECT_TRUE(thought_ending(*model_).empty());
}

class Fixed : public Constraint {
 public:
  explicit Fixed(Verdict verdict) : verdict_(std::move(verdict)) {}
  bool fill_mask(std::span<uint32_t> mask) override {
    mask[0] &= ~1u;
    return true;
  }
  Verdict accept(int32_t) override { return verdict_; }
  void rollback(int) override {}

 private:
  Verdict verdict_;
};

TEST(CombineConstraints, AStopGoesBeforeWhatIsForced) {
  const auto combine = [](Constraint::Verdict a, Constraint::Verdict b) {
    std::vector<std::unique_ptr<Constraint>> parts;
    parts.push_back(std::make_unique<Fixed>(std::move(a)));
    parts.push_back(nullptr);
    parts.push_back(std::make_unique<Fixed>(std::move(b)));
    return combine_constraints(std::move(parts))->accept(1).index();
  };
  const Constraint::Verdict go = Constraint::Continue{}, stop = Constraint::Stop{}, force = Constraint::Force{{1}};
  EXPECT_EQ(combine(go, go), go.index());
  EXPECT_EQ(combine(go, force), force.index());
  EXPECT_EQ(combine(force, go), force.index());
  EXPECT_EQ(combine(force, stop), stop.index());
  EXPECT_EQ(combine(stop, force), stop.index());
  EXPECT_EQ(combine_constraints({}), nullptr);
}

}  // namespace
}  // namespace carronade
