#include "chat/token_sequences.h"

#include <algorithm>

namespace carronade {

std::vector<std::vector<TokenId>> bad_word_sequences(const Tokenizer& tokenizer, std::span<const std::string> words) {
  std::vector<std::vector<TokenId>> sequences;
  for (const std::string& word : words) {
    const std::string bare = word.substr(std::min(word.find_first_not_of(' '), word.size()));
    for (const std::string& spelling : {bare, " " + bare}) {
      std::vector<TokenId> tokens = tokenizer.encode(spelling);
      if (!tokens.empty() && std::ranges::find(sequences, tokens) == sequences.end())
        sequences.push_back(std::move(tokens));
    }
  }
  return sequences;
}

std::shared_ptr<const SequenceBreakers> find_sequence_breakers(const Tokenizer& tokenizer,
                                                               std::span<const std::string> texts) {
  // What follows a beginning of a text: the rest, for each place where it may be cut.
  struct Cut {
    std::string_view head;
    std::vector<TokenId> tail;
  };
  std::vector<Cut> cuts;
  for (const std::string& text : texts) {
    for (size_t size = 1; size < text.size(); ++size)
      cuts.push_back({std::string_view(text).substr(0, size), tokenizer.encode(text.substr(size))});
  }
  auto breakers = std::make_shared<SequenceBreakers>();
  breakers->single.resize(static_cast<size_t>(tokenizer.vocabulary_size()));
  for (TokenId token = 0; token < tokenizer.vocabulary_size(); ++token) {
    const std::string_view bytes = tokenizer.token_bytes(token);
    const bool holds_one =
        std::ranges::any_of(texts, [&](const std::string& text) { return bytes.find(text) != std::string_view::npos; });
    if (holds_one || tokenizer.is_special(token)) {
      breakers->single[static_cast<size_t>(token)] = true;
      continue;
    }
    for (const Cut& cut : cuts) {
      if (cut.tail.empty() || !bytes.ends_with(cut.head)) continue;
      std::vector<TokenId> sequence = {token};
      sequence.insert(sequence.end(), cut.tail.begin(), cut.tail.end());
      breakers->sequences[sequence.back()].push_back(std::move(sequence));
    }
  }
  return breakers;
}

}  // namespace carronade
