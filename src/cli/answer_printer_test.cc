#include "cli/answer_printer.h"

#include <gtest/gtest.h>

namespace carronade {
namespace {

using Lines = std::vector<std::string>;

std::string printed(AnswerPrinter::Options options, const std::vector<std::string>& thought,
                    const std::string& answer) {
  AnswerPrinter printer(options);
  testing::internal::CaptureStdout();
  for (const std::string& part : thought) printer.thought(part);
  if (!answer.empty()) printer.answer(answer);
  printer.end();
  return testing::internal::GetCapturedStdout();
}

// What a terminal shows in the end: carriage return, cursor up, erase below; colours are left out.
Lines on_screen(const std::string& text) {
  Lines lines(1);
  size_t row = 0, column = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\033') {
      const size_t end = text.find_first_of("AJm", i);
      if (text[end] == 'A') row -= static_cast<size_t>(std::stoi(text.substr(i + 2)));
      if (text[end] == 'J') lines.resize(row + 1), lines[row].resize(column);
      i = end;
    } else if (text[i] == '\n') {
      column = 0;
      if (++row == lines.size()) lines.emplace_back();
    } else if (text[i] == '\r') {
      column = 0;
    } else {
      lines[row].resize(column);
      lines[row] += text[i];
      ++column;
    }
  }
  return lines;
}

TEST(AnswerPrinter, AThoughtIsFoldedToItsDuration) {
  const std::vector<std::string> thought = {"first ", "line\nsecond line that is long enough to be wrapped\n",
                                            "third\nfourth\nfifth\nsixth\nse", "venth"};
  const Lines lines = on_screen(printed({.terminal = true, .columns = 20}, thought, "The answer."));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_TRUE(lines[0].starts_with("Thought for 0.") && lines[0].ends_with(" s")) << lines[0];
  EXPECT_EQ(lines[1], "");
  EXPECT_EQ(lines[2], "The answer.");
  const std::string raw = printed({.terminal = true, .columns = 20}, thought, "The answer.");
  EXPECT_NE(raw.find("\033[2m"), std::string::npos);  // dimmed
  EXPECT_NE(raw.find("seventh"), std::string::npos);  // and was seen
}

TEST(AnswerPrinter, AThoughtCanBeShownOrHidden) {
  const Lines shown =
      on_screen(printed({.terminal = true, .thought = ThoughtView::kShow}, {"I ", "think."}, "The answer."));
  EXPECT_EQ(shown[0], "I think.");
  EXPECT_TRUE(shown[1].starts_with("Thought for ")) << shown[1];
  EXPECT_EQ(shown[3], "The answer.");
  EXPECT_EQ(printed({.terminal = true, .thought = ThoughtView::kHide}, {"I think."}, "The answer."), "The answer.\n");
  EXPECT_EQ(printed({.terminal = false}, {"I think."}, "The\aanswer."), "The\aanswer.\n");  // a file gets it as it is
  EXPECT_EQ(printed({.terminal = true, .silent = true}, {"I think."}, "The answer."), "");
}

TEST(AnswerPrinter, AModelCannotCommandTheTerminal) {
  const std::string answer = printed({.terminal = true}, {}, "a\033[2Jb\rc\u009bd\te");
  EXPECT_EQ(answer,
            "a\xef\xbf\xbd[2Jb\xef\xbf\xbd"
            "c\xef\xbf\xbd"
            "d\te\n");
  EXPECT_EQ(printed({.terminal = true}, {"x\033[31m"}, "y").find("\033[31m"), std::string::npos);
}

TEST(WrapLines, CutsAtTheWidthInColumns) {
  EXPECT_EQ(wrap_lines("abcdef", 4), (Lines{"abcd", "ef"}));
  EXPECT_EQ(wrap_lines("ab\n\ncd", 4), (Lines{"ab", "", "cd"}));
  EXPECT_EQ(wrap_lines("äöüß", 4), Lines{"äöüß"});
  EXPECT_EQ(wrap_lines("中文字", 4), (Lines{"中文", "字"}));
  EXPECT_EQ(wrap_lines("😀😀😀", 4), (Lines{"😀😀", "😀"}));
  EXPECT_EQ(wrap_lines("", 4), Lines{""});
  EXPECT_EQ(wrap_lines("\xf0\x9f", 4).size(), 1u);  // cut off
}

TEST(DurationText, IsSecondsThenMinutes) {
  EXPECT_EQ(duration_text(0.04), "0.0 s");
  EXPECT_EQ(duration_text(4.25), "4.2 s");
  EXPECT_EQ(duration_text(80), "1 min 20 s");
  EXPECT_EQ(duration_text(59.99), "1 min 0 s");
}

}  // namespace
}  // namespace carronade
