// Ending a thought: when it has used up its tokens, or when somebody says "answer now".
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "chat/chat_model.h"
#include "engine/constraint.h"

namespace carronade {

// What a model writes at the end of its thought, as tokens: the mark on a line of its own, and an empty line, as the
// templates of thinking models have it. Empty when the model has no marks.
std::vector<TokenId> thought_ending(const ChatModel& model);

struct ThinkingLimit {
  int budget = -1;            // tokens of a thought; -1: as many as it wants. 0 only where the thought is not open yet
  bool thought_open = false;  // the prompt ends inside the thought
  std::shared_ptr<const std::atomic<bool>> answer_now{};  // set by any thread; or nullptr
};

// Forces the thought's ending after `budget` tokens of it (its opening mark is not counted), or after the next token
// once `answer_now` is set. A thought that ends by itself is left alone, and so is an answer without one. The model
// must outlive it. Null when the model does not think.
std::unique_ptr<Constraint> make_thinking_constraint(const ChatModel& model, const ThinkingLimit& limit);

// Several constraints as one; nullptrs are left out. A stop goes before what is forced. Null when there is none.
std::unique_ptr<Constraint> combine_constraints(std::vector<std::unique_ptr<Constraint>> constraints);

}  // namespace carronade
