#include "chat/text_prompt.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

#include "base/error.h"

namespace carronade {

namespace {

struct FillMarks {
  std::string_view prefix, suffix, middle;
};

// As the model families spell them: Qwen and CodeGemma, StarCoder, Granite, DeepSeek, CodeLlama.
constexpr std::array<FillMarks, 5> kFillMarks = {{
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},
    {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},
    {"▁<PRE>", "▁<SUF>", "▁<MID>"},
}};

std::vector<TokenId> fill_tokens(const Tokenizer& tokenizer) {
  for (const FillMarks& marks : kFillMarks) {
    std::vector<TokenId> tokens = {tokenizer.special_token(marks.prefix), tokenizer.special_token(marks.suffix),
                                   tokenizer.special_token(marks.middle)};
    if (std::ranges::find(tokens, -1) == tokens.end()) return tokens;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "suffix: this model has no marks for filling in the middle; send the prompt alone", "suffix");
}

std::vector<TokenId> tokens_of(const Tokenizer& tokenizer, const TextPrompt& prompt) {
  if (const auto* tokens = std::get_if<std::vector<TokenId>>(&prompt.text)) return *tokens;
  // Around a gap the marks come first.
  return tokenizer.encode(std::get<std::string>(prompt.text),
                          {.add_special = prompt.add_special && !prompt.suffix, .parse_special = true});
}

// Of a request that asks for it only: nothing is cut in silence. `others`: tokens of the prompt besides.
void cut_tokens(const ChatModel& model, const TextPrompt::Cut& cut, size_t others, std::vector<TokenId>& tokens) {
  const int64_t room = int64_t{model.max_model_len} - cut.answer_tokens - static_cast<int64_t>(others);
  const auto most = static_cast<size_t>(std::max<int64_t>(1, cut.tokens < 0 ? room : cut.tokens));
  if (tokens.size() <= most) return;
  const TokenizerData& data = model.tokenizer->data();
  if (cut.keep_first) {
    tokens.resize(most);
  } else {
    const auto keep = data.add_bos && tokens.front() == data.bos ? 1 : 0;
    tokens.erase(tokens.begin() + keep, tokens.end() - static_cast<std::ptrdiff_t>(most) + keep);
  }
}

}  // namespace

Prompt build_text_prompt(const ChatModel& model, const TextPrompt& prompt) {
  const Tokenizer& tokenizer = *model.tokenizer;
  Prompt result;
  result.tokens = tokens_of(tokenizer, prompt);
  std::vector<TokenId> after;
  if (prompt.suffix) after = tokenizer.encode(*prompt.suffix, {.add_special = false, .parse_special = true});
  if (prompt.cut) cut_tokens(model, *prompt.cut, prompt.suffix ? after.size() + 3 : 0, result.tokens);
  if (prompt.suffix) {
    const std::vector<TokenId> marks = fill_tokens(tokenizer);
    result.tokens.insert(result.tokens.begin(), marks[0]);
    result.tokens.push_back(marks[1]);
    result.tokens.insert(result.tokens.end(), after.begin(), after.end());
    result.tokens.push_back(marks[2]);
  }
  if (result.tokens.empty()) {
    throw Error(ErrorCode::kInvalidArgument, "prompt is empty, and this model has no token to begin a text with",
                "prompt");
  }
  for (const TokenId token : result.tokens) {
    if (token < 0 || token >= tokenizer.vocabulary_size()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "prompt holds the token id " + std::to_string(token) + "; this model's go from 0 to " +
                      std::to_string(tokenizer.vocabulary_size() - 1),
                  "prompt");
    }
  }
  return result;
}

std::string text_of(const Tokenizer& tokenizer, const std::vector<TokenId>& tokens) {
  std::string text;
  for (const TokenId token : tokens) text += tokenizer.token_bytes(token);
  return text;
}

}  // namespace carronade
