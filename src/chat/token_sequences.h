// Words that a request gives as text, as the token sequences that the engine knows them by.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/request.h"
#include "text/tokenizer.h"

namespace carronade {

// What must not come, for SamplingParameters::bad_words: each word as it begins a text, and with a space before it.
// vLLM leaves the second out where it has more tokens than the first, and then the word comes after all.
std::vector<std::vector<TokenId>> bad_word_sequences(const Tokenizer& tokenizer, std::span<const std::string> words);

// Tokens that hold one of `texts`, and sequences of tokens that make one together: those that begin with a token whose
// end is the text's beginning. Special tokens break always. Takes time linear in the vocabulary.
std::shared_ptr<const SequenceBreakers> find_sequence_breakers(const Tokenizer& tokenizer,
                                                               std::span<const std::string> texts);

}  // namespace carronade
