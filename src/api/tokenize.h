// vLLM's /tokenize and /detokenize. No I/O, no threads. Source: vLLM's OpenAI-compatible server (protocol of
// tokenization).
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "chat/prompt.h"
#include "chat/text_prompt.h"

namespace carronade {

struct TokenizeCall {
  std::string model;
  std::variant<TextPrompt, PromptRequest> input;
  bool return_texts = false;  // also each token's text
};

// Both throw Error{kInvalidArgument} naming the field.
TokenizeCall parse_tokenize(std::string_view body);

struct DetokenizeCall {
  std::string model;
  std::vector<TokenId> tokens;
};
DetokenizeCall parse_detokenize(std::string_view body);

std::string tokenize_body(const std::vector<TokenId>& tokens, int max_model_len, const Tokenizer* texts_of);
std::string detokenize_body(const std::string& text);

}  // namespace carronade
