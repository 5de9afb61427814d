// What `carronade eval` reads: text or token ids, as sequences.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace carronade {

// JSON: one array of ids, an array of such arrays, or such arrays one a line.
// Throws Error{kInvalidArgument}; `source` is what messages call it.
std::vector<std::vector<TokenId>> parse_token_sequences(std::string_view json, const std::string& source);

// The text as data: nothing in it becomes a control token. Cut into pieces of `context` tokens, each with the model's
// begin token where its files say so; a last piece of one token is left out.
std::vector<std::vector<TokenId>> cut_text(const Tokenizer& tokenizer, std::string_view text, int context);

// Each line that is not empty is a text of its own, with the tokens around it that the model's files want.
std::vector<std::vector<TokenId>> split_lines(const Tokenizer& tokenizer, std::string_view text);

// Of each sequence the same share from its start, so that at most `positions` tokens are predicted in all.
void shorten(std::vector<std::vector<TokenId>>& sequences, size_t positions);

}  // namespace carronade
