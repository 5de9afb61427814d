// Which tokens end an answer. Files often name only one of them, so llama.cpp knows the others by their spelling; so do
// we.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace carronade {

// Fed one token at a time, in the order of ids.
class EndOfGenerationFinder {
 public:
  // `special`: the file calls the token a control token, or gives no types at all.
  void visit(TokenId id, std::string_view spelling, bool special);

  // The ids found, and those that the file names (negative ones are left out), ascending without repetition.
  std::vector<TokenId> finish(const std::vector<TokenId>& named);

 private:
  struct Found {
    TokenId id;
    std::string_view spelling;  // into the list of known spellings
  };
  std::vector<Found> found_;
};

}  // namespace carronade
