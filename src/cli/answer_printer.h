// Shows an answer on the terminal as it comes.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace carronade {

enum class ThoughtView {
  kFold,  // its last lines while it comes, one line with its duration when it has ended
  kShow,  // all of it, dimmed
  kHide,
};

// What a model says must not be able to command the terminal: control characters but line ends and tabs are shown as
// U+FFFD.
std::string harmless(std::string_view text);

// "4.2 s", "1 min 20 s".
std::string duration_text(double seconds);

// Running text cut into the lines of a terminal of `width` columns; the last may go on. A character from U+1000 on
// counts as two columns: at worst a line ends early, and what was drawn can be taken back.
std::vector<std::string> wrap_lines(std::string_view text, int width);

// Owned by one thread. On a terminal thoughts are dimmed; elsewhere standard output holds the answer alone.
class AnswerPrinter {
 public:
  struct Options {
    bool terminal = false;
    bool silent = false;
    ThoughtView thought = ThoughtView::kFold;
    int columns = 80;
  };
  explicit AnswerPrinter(Options options) : options_(options) {}

  static Options options_for(bool silent, ThoughtView thought);  // looks at standard output

  void set_thought_view(ThoughtView view) { options_.thought = view; }
  ThoughtView thought_view() const { return options_.thought; }

  void begin();
  void thought(std::string_view text);
  void answer(std::string_view text);
  void end();  // the line end

 private:
  void draw_fold();
  void erase_fold();
  void end_thought();
  void write(std::string_view text);

  Options options_;
  std::string thought_;  // the part that may still be on the screen
  int drawn_ = 0;        // lines of the fold
  bool in_thought_ = false;
  std::chrono::steady_clock::time_point started_;
};

}  // namespace carronade
