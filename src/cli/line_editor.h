// A line from a person at a terminal: editing keys, history, several lines.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

namespace carronade {

// Over libedit. On one thread. Enter ends the input, Alt-Enter begins another line.
class LineEditor {
 public:
  // `history`: a file of earlier inputs; made when it is not there. One that cannot be written costs nothing but the
  // history.
  explicit LineEditor(std::filesystem::path history);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  enum class Input { kLine, kInterrupted, kEnd };  // Enter, Ctrl-C, Ctrl-D on an empty line
  Input read(const std::string& prompt, std::string& line);

  void remember(const std::string& input);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace carronade
