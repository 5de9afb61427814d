// Prompts without a template: a text to go on from, or a gap to fill.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "chat/chat_model.h"
#include "chat/prompt.h"

namespace carronade {

struct TextPrompt {
  std::variant<std::string, std::vector<TokenId>> text;  // control tokens that are spelled in a text count as such
  std::optional<std::string> suffix;                     // what comes after the gap
  bool add_special = true;                               // the begin token, where the model's files ask for one
  struct Cut {
    int tokens = -1;          // -1: as many as leave room for the suffix and the answer
    bool keep_first = false;  // else the last ones are kept, behind the begin token
    int answer_tokens = 0;    // the answer's room, for -1
  };
  std::optional<Cut> cut{};  // a text that is longer is cut; unset: never
};

// With a suffix, the model's own marks for filling in the middle are put around both (in the order prefix, suffix,
// middle). Throws Error{kInvalidArgument} when the model has none, or for an empty prompt of a model without a begin
// token.
Prompt build_text_prompt(const ChatModel& model, const TextPrompt& prompt);

// The bytes of tokens, control tokens spelled out.
std::string text_of(const Tokenizer& tokenizer, const std::vector<TokenId>& tokens);

}  // namespace carronade
