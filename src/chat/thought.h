// Telling a model's thought from its answer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_model.h"

namespace carronade {

struct InlineThought {
  std::string thought;  // without its marks and the white space around it
  std::string answer;
};

// An earlier answer as some clients send it back, thought and all ("<think>…</think>answer", or "…</think>answer" where
// the prompt had opened the thought). A text without the closing mark is all answer.
InlineThought split_inline_thought(const ThoughtTags& tags, std::string_view content);

struct AnswerPiece {
  bool is_thought;
  std::string text;
};

// Splits running text. A thought is at the beginning or nowhere: later marks are text. White space around the thought
// is dropped; an answer without a thought is left as it is. Owned by one thread.
class ThoughtSplitter {
 public:
  // `open`: the prompt has opened the thought already. With tags == nullptr everything is answer.
  ThoughtSplitter(const ThoughtTags* tags, bool open);

  // What is certain now, in order; a possible part of a mark is held back.
  void push(std::string_view text, std::vector<AnswerPiece>& out);
  // The end of the text.
  void finish(std::vector<AnswerPiece>& out);

  bool in_thought() const { return state_ == State::kThoughtStart || state_ == State::kThought; }
  bool in_answer() const { return state_ == State::kAnswerStart || state_ == State::kAnswer; }

 private:
  enum class State { kStart, kThoughtStart, kThought, kAnswerStart, kAnswer };
  bool step(std::vector<AnswerPiece>& out);
  bool step_start();
  bool step_thought(std::vector<AnswerPiece>& out);

  const ThoughtTags* tags_;
  State state_;
  std::string held_;  // not yet decided
};

}  // namespace carronade
