#include "cli/answer_printer.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>

namespace carronade {

namespace {

constexpr int kFoldLines = 4;  // enough to see what it is about, little enough for any terminal
constexpr const char* kDim = "\033[2m";
constexpr const char* kPlain = "\033[0m";

}  // namespace

std::string harmless(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool c1 = c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f || c1) {
      result += "\xef\xbf\xbd";
      i += c1 ? 1 : 0;
    } else {
      result += text[i];
    }
  }
  return result;
}

std::string duration_text(double seconds) {
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = std::lround(seconds);
  return fmt::format("{} min {} s", whole / 60, whole % 60);
}

std::vector<std::string> wrap_lines(std::string_view text, int width) {
  std::vector<std::string> lines(1);
  int column = 0;
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    if (first == '\n') {
      lines.emplace_back();
      column = 0;
      ++i;
      continue;
    }
    size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    size = std::min(size, text.size() - i);
    const bool wide = first >= 0xe1;  // U+1000 and up
    const int columns = first == '\t' ? 4 : wide ? 2 : 1;
    if (column + columns > width) {
      lines.emplace_back();
      column = 0;
    }
    lines.back() += first == '\t' ? std::string_view("    ") : text.substr(i, size);
    column += columns;
    i += size;
  }
  return lines;
}

AnswerPrinter::Options AnswerPrinter::options_for(bool silent, ThoughtView thought) {
  Options options{.terminal = ::isatty(STDOUT_FILENO) == 1, .silent = silent, .thought = thought, .columns = 80};
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) options.columns = size.ws_col;
  return options;
}

void AnswerPrinter::begin() {
  if (options_.terminal) options_.columns = options_for(false, options_.thought).columns;  // it may have been resized
}

void AnswerPrinter::thought(std::string_view text) {
  if (options_.silent || !options_.terminal || options_.thought == ThoughtView::kHide) return;
  if (!in_thought_) {
    in_thought_ = true;
    started_ = std::chrono::steady_clock::now();
    thought_.clear();
    if (options_.thought == ThoughtView::kShow) write(kDim);
  }
  if (options_.thought == ThoughtView::kShow) {
    write(harmless(text));
    return;
  }
  thought_ += harmless(text);
  draw_fold();
}

// Redraws the last lines in place of those drawn before.
void AnswerPrinter::draw_fold() {
  std::vector<std::string> lines = wrap_lines(thought_, options_.columns - 1);
  if (lines.size() > kFoldLines) {
    lines.erase(lines.begin(), lines.end() - kFoldLines);
    thought_.clear();  // what has gone up will not come back
    for (size_t i = 0; i < lines.size(); ++i) thought_ += (i > 0 ? "\n" : "") + lines[i];
  }
  erase_fold();
  write(kDim);
  for (size_t i = 0; i < lines.size(); ++i) write((i > 0 ? "\n" : "") + lines[i]);
  write(kPlain);
  drawn_ = static_cast<int>(lines.size());
}

void AnswerPrinter::erase_fold() {
  if (drawn_ > 1) write(fmt::format("\033[{}A", drawn_ - 1));
  if (drawn_ > 0) write("\r\033[J");
  drawn_ = 0;
}

void AnswerPrinter::end_thought() {
  if (!in_thought_) return;
  in_thought_ = false;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  const bool folded = options_.thought == ThoughtView::kFold;
  if (folded) erase_fold();
  write(fmt::format("{}{}Thought for {}{}\n\n", folded ? "" : "\n", kDim, duration_text(seconds), kPlain));
}

void AnswerPrinter::answer(std::string_view text) {
  if (options_.silent) return;
  end_thought();
  write(options_.terminal ? harmless(text) : std::string(text));
}

void AnswerPrinter::end() {
  if (options_.silent) return;
  end_thought();
  write("\n");
}

void AnswerPrinter::write(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace carronade
