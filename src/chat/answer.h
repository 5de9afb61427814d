// Token ids of one answer → thought and answer text, with stop strings cut. And the constraint that ends the sequence
// at a stop string.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_model.h"
#include "chat/thought.h"
#include "engine/constraint.h"
#include "text/token_stream.h"

namespace carronade {

// Finds the first of several strings in running text. Owned by one thread.
class StopMatcher {
 public:
  StopMatcher(std::vector<std::string> stop, bool include_stop) : stop_(std::move(stop)), include_stop_(include_stop) {}

  // Returns what is certain: all but what may be the beginning of a stop string. After stopped() nothing. Where stop
  // strings are not looked for yet (`armed` false: vLLM's min_tokens), they pass as text.
  std::string push(std::string_view text, bool armed = true);
  std::string finish();

  bool stopped() const { return stopped_; }
  const std::string& stop_string() const { return stop_string_; }

 private:
  std::vector<std::string> stop_;
  bool include_stop_;
  std::string held_;
  std::string stop_string_;
  bool stopped_ = false;
};

struct AnswerOptions {
  std::vector<std::string> stop;  // looked for in the answer only: a "\n\n" must not end a thought
  bool include_stop = false;
  int min_tokens = 0;  // no stop string counts before
  bool thought_open = false;
  bool plain = false;  // nothing is a thought
  bool show_special_tokens = false;
};

// Owned by one thread; the model must outlive it.
class AnswerParser {
 public:
  AnswerParser(const ChatModel& model, AnswerOptions options);

  // Appends what became certain by this token, in order. After stopped() nothing.
  void push(TokenId token, std::vector<AnswerPiece>& out);
  void finish(std::vector<AnswerPiece>& out);

  bool stopped() const { return stop_.stopped(); }
  const std::string& stop_string() const { return stop_.stop_string(); }
  bool in_answer() const { return splitter_.in_answer(); }
  bool in_thought() const { return splitter_.in_thought(); }
  int tokens() const { return tokens_; }
  int thought_tokens() const { return thought_tokens_; }  // the marks included

 private:
  void split(std::string_view text, bool at_end, std::vector<AnswerPiece>& out);

  const Tokenizer& tokenizer_;
  AnswerOptions options_;
  TokenId open_token_ = -1, close_token_ = -1;  // where the marks are tokens
  TokenStream stream_;
  ThoughtSplitter splitter_;
  StopMatcher stop_;
  int tokens_ = 0, thought_tokens_ = 0;
};

// Ends a sequence with the token that completes a stop string. Runs on the engine's thread beside the parser that makes
// the text, and decides as that does. Null when there are no stop strings. The model must outlive it.
std::unique_ptr<Constraint> make_stop_constraint(const ChatModel& model, const AnswerOptions& options);

}  // namespace carronade
