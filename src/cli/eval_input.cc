#include "cli/eval_input.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace carronade {
namespace {

using nlohmann::json;

std::vector<TokenId> to_tokens(const json& array, const std::string& source) {
  std::vector<TokenId> tokens;
  for (const json& element : array) {
    if (!element.is_number_integer() || element < 0 || element > INT32_MAX)
      throw_error(ErrorCode::kInvalidArgument, "{}: {} is not a token id", source, element.dump());
    tokens.push_back(element.get<TokenId>());
  }
  return tokens;
}

void append(const json& value, const std::string& source, std::vector<std::vector<TokenId>>& sequences) {
  if (!value.is_array()) throw_error(ErrorCode::kInvalidArgument, "{}: an array of token ids is expected", source);
  if (!value.empty() && value.front().is_array()) {
    for (const json& inner : value) append(inner, source, sequences);
  } else {
    sequences.push_back(to_tokens(value, source));
  }
}

}  // namespace

std::vector<std::vector<TokenId>> parse_token_sequences(std::string_view text, const std::string& source) {
  std::vector<std::vector<TokenId>> sequences;
  if (const json whole = json::parse(text, nullptr, false); !whole.is_discarded()) {
    append(whole, source, sequences);
    return sequences;
  }
  for (size_t at = 0, number = 1; at < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const json value = json::parse(line, nullptr, false);
    const std::string where = fmt::format("{}, line {}", source, number);
    if (value.is_discarded()) throw_error(ErrorCode::kInvalidArgument, "{}: not a JSON array of token ids", where);
    append(value, where, sequences);
  }
  return sequences;
}

std::vector<std::vector<TokenId>> cut_text(const Tokenizer& tokenizer, std::string_view text, int context) {
  const TokenizerData& data = tokenizer.data();
  const bool begins = data.add_bos && data.bos >= 0;
  const std::vector<TokenId> tokens = tokenizer.encode(text);
  const auto room = static_cast<size_t>(context - (begins ? 1 : 0));
  std::vector<std::vector<TokenId>> sequences;
  for (size_t at = 0; at < tokens.size(); at += room) {
    const size_t end = std::min(at + room, tokens.size());
    std::vector<TokenId> piece;
    piece.reserve(end - at + 1);
    if (begins) piece.push_back(data.bos);
    for (size_t i = at; i < end; ++i) piece.push_back(tokens[i]);
    if (piece.size() >= 2) sequences.push_back(std::move(piece));
  }
  return sequences;
}

std::vector<std::vector<TokenId>> split_lines(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::vector<TokenId>> sequences;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    sequences.push_back(tokenizer.encode(line, {.add_special = true}));
  }
  return sequences;
}

void shorten(std::vector<std::vector<TokenId>>& sequences, size_t positions) {
  // The longest share that keeps within: what short sequences leave over goes to the others.
  const auto total = [&](size_t share) {
    size_t sum = 0;
    for (const auto& sequence : sequences) sum += std::min(share, sequence.size() - 1);
    return sum;
  };
  size_t longest = 1;
  for (const auto& sequence : sequences) longest = std::max(longest, sequence.size() - 1);
  size_t share = longest;
  while (share > 1 && total(share) > positions) --share;
  for (auto& sequence : sequences) sequence.resize(std::min(sequence.size(), share + 1));
}

}  // namespace carronade
