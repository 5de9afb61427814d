#include "checkpoint/end_of_generation.h"

#include <algorithm>
#include <array>

namespace carronade {
namespace {

// These cannot be meant as text, whatever type the file gives them.
constexpr std::array<std::string_view, 17> kUnmistakable = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|fim_pad|>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
};

// These occur in HTML and in prose: an ordinary token "</s>" must not end an answer (Qwen's vocabulary has one).
constexpr std::array<std::string_view, 15> kOnlyAsControl = {
    "</s>", "<EOT>",     "_<EOT>",    "[EOT]",      "[EOS]",  "<eos>",      "<turn|>", "<|tool_response>",
    "[e~[", "<fim-pad>", "<fim_pad>", "<fim-repo>", "<REPO>", "<reponame>", "<PAD>",
};

template <size_t N>
std::string_view match(const std::array<std::string_view, N>& known, std::string_view spelling) {
  const auto found = std::find(known.begin(), known.end(), spelling);
  return found == known.end() ? std::string_view() : *found;
}

}  // namespace

void EndOfGenerationFinder::visit(TokenId id, std::string_view spelling, bool special) {
  if (spelling.size() < 4 || (spelling[0] != '<' && spelling[0] != '[' && spelling[0] != '_')) return;
  std::string_view known = match(kUnmistakable, spelling);
  if (known.empty() && special) known = match(kOnlyAsControl, spelling);
  if (!known.empty()) found_.push_back({id, known});
}

std::vector<TokenId> EndOfGenerationFinder::finish(const std::vector<TokenId>& named) {
  const auto has = [&](std::string_view spelling) {
    return std::any_of(found_.begin(), found_.end(), [&](const Found& f) { return f.spelling == spelling; });
  };
  // In the harmony and solar families <|end|> closes one channel of several.
  const bool end_is_inner = (has("<|return|>") && has("<|call|>")) || (has("<|calls|>") && has("<|flush|>"));
  // Gemma 4 has "</s>" as an ordinary HTML tag among its control tokens.
  const bool s_is_text = has("<|tool_response>");
  std::vector<TokenId> ids;
  for (const TokenId id : named) {
    if (id >= 0) ids.push_back(id);
  }
  for (const Found& f : found_) {
    if ((f.spelling == "<|end|>" && end_is_inner) || (f.spelling == "</s>" && s_is_text)) continue;
    ids.push_back(f.id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

}  // namespace carronade
