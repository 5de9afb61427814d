// Messages → the model's own prompt, as token ids.
//
// A template builds one text out of its own words and of what users wrote. Control tokens (`<|im_end|>`) may come only
// from the template: the same letters in a user's text are text, or anybody could end their turn and speak as the
// system. Encoding template and user spans apart would be safe but not exact, since a BPE token may stretch over their
// border ("\n" + "\nHi" is one "\n\n"). So:
//
//   1. Where no string of the request holds a special token's spelling, and none begins or ends with a part of one,
//   nothing can go wrong:
//      the rendered text is encoded whole. This is nearly always so.
//   2. Otherwise a mark, one private-use character that occurs nowhere in request and template, is put inside each such
//   spelling
//      (`<` mark `|im_end|>`), so it travels wherever the template carries the text, through trim, split, join, replace
//      or tojson. After rendering the marks are taken out again and their places kept. A spelling over such a place is
//      not a control token; the stretch between its neighbouring control tokens is encoded as plain text, and
//      everything else as in 1.
//
// This holds for every string of the request that reaches the template: contents, reasoning, names, template arguments.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "chat/chat_model.h"

namespace carronade {

struct ChatMessage {
  std::string role;     // system user assistant tool; "developer" is read as system where the template does not know it
  std::string content;  // parts joined by line ends
  std::optional<std::string>
      reasoning;     // of an assistant's earlier turn: reaches only templates that ask for `reasoning_content`
  std::string name;  // or empty
};

// What a prompt is made of.
struct PromptRequest {
  std::vector<ChatMessage> messages;
  nlohmann::ordered_json template_arguments = nlohmann::ordered_json::object();  // further variables of the template
  nlohmann::ordered_json documents{};  // for templates that show documents: an array of objects; or null
  bool add_generation_prompt = true;   // false: the prompt ends behind the last message
  bool continue_last = false;          // the answer goes on with the last message; needs add_generation_prompt false
};

struct Prompt {
  std::vector<TokenId> tokens;
  bool thought_open = false;  // the prompt ends inside a thought, so the answer begins there
};

// `template_arguments` (`enable_thinking`) come above the model's own. A message that is continued is kept to its last
// byte, and an assistant's may open its thought: "<think>\nSo far".
// Throws Error{kInvalidArgument} when the model has no template, the template refuses the messages or has no place for
// documents, or an argument's name is reserved.
Prompt build_prompt(const ChatModel& model, const PromptRequest& conversation);
inline Prompt build_prompt(const ChatModel& model, std::vector<ChatMessage> messages,
                           nlohmann::ordered_json template_arguments = nlohmann::ordered_json::object()) {
  return build_prompt(model, PromptRequest{std::move(messages), std::move(template_arguments), {}});
}

}  // namespace carronade
