#include "chat/thought.h"

#include <gtest/gtest.h>

namespace carronade {
namespace {

const ThoughtTags kTags;

struct Split {
  std::string thought, answer;
  bool operator==(const Split&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Split& split) {
  return out << "{" << split.thought << "|" << split.answer << "}";
}

Split run(std::string_view text, bool open, size_t chunk, const ThoughtTags* tags = &kTags) {
  ThoughtSplitter splitter(tags, open);
  std::vector<AnswerPiece> pieces;
  for (size_t i = 0; i < text.size(); i += chunk) splitter.push(text.substr(i, chunk), pieces);
  splitter.finish(pieces);
  Split result;
  bool answered = false;
  for (const auto& piece : pieces) {
    EXPECT_FALSE(piece.text.empty());
    EXPECT_FALSE(piece.is_thought && answered) << "a thought after the answer";
    answered = answered || !piece.is_thought;
    (piece.is_thought ? result.thought : result.answer) += piece.text;
  }
  return result;
}

struct Case {
  const char* text;
  bool open;
  Split expected;
};

TEST(ThoughtSplitter, SplitsTheSameHoweverTheTextIsCut) {
  const Case cases[] = {
      {"Hello", false, {"", "Hello"}},
      {"  Hello ", false, {"", "  Hello "}},
      {"<think>\nhm\n</think>\n\nYes.\n", false, {"hm", "Yes.\n"}},
      {"\n <think>a</think>b", false, {"a", "b"}},
      {"a\n\nb\n</think>\nYes", true, {"a\n\nb", "Yes"}},
      {"<think>\na</think>Yes", true, {"a", "Yes"}},
      {"</think>Yes", true, {"", "Yes"}},
      {"a < b </thin b", true, {"a < b </thin b", ""}},
      {"a\n\n", true, {"a", ""}},
      {"a\n</thi", true, {"a\n</thi", ""}},
      {"<thin", false, {"", "<thin"}},
      {"<think", false, {"", "<think"}},
      {"Use <think>x</think> so", false, {"", "Use <think>x</think> so"}},
      {"<think>a</think>b</think><think>c", false, {"a", "b</think><think>c"}},
      {"", true, {"", ""}},
      {"   ", true, {"", ""}},
  };
  for (const auto& each : cases) {
    for (size_t chunk = 1; chunk <= 30; ++chunk)
      EXPECT_EQ(run(each.text, each.open, chunk), each.expected) << each.text << " by " << chunk;
  }
}

TEST(ThoughtSplitter, LeavesModelsAloneThatDoNotThink) {
  EXPECT_EQ(run("<think>a</think>b", false, 3, nullptr), (Split{"", "<think>a</think>b"}));
}

TEST(ThoughtSplitter, HoldsBackNoMoreThanItMust) {
  ThoughtSplitter splitter(&kTags, false);
  std::vector<AnswerPiece> pieces;
  splitter.push("<think>so", pieces);
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_TRUE(pieces[0].is_thought);
  EXPECT_EQ(pieces[0].text, "so");
}

TEST(InlineThought, IsTakenOutOfEarlierAnswers) {
  const auto split = [](std::string_view text) {
    const InlineThought parts = split_inline_thought(kTags, text);
    return Split{parts.thought, parts.answer};
  };
  EXPECT_EQ(split("<think>\na\n</think>\n\nb"), (Split{"a", "b"}));
  EXPECT_EQ(split("a\n</think>\nb"), (Split{"a", "b"}));
  EXPECT_EQ(split("plain"), (Split{"", "plain"}));
  EXPECT_EQ(split("<think>never closed"), (Split{"", "<think>never closed"}));
  EXPECT_EQ(split("Write <think>x</think> so"), (Split{"", "Write <think>x</think> so"}));
  EXPECT_EQ(split(""), (Split{"", ""}));
}

}  // namespace
}  // namespace carronade
