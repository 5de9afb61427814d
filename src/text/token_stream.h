// Token ids, one at a time, to text that can be sent at once: whole UTF-8 characters only, stop strings cut exactly.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace carronade {

struct TokenStreamOptions {
  std::vector<std::string> stop;  // text that ends the answer; empty strings are not allowed
  bool include_stop = false;      // leave the stop string in the text
  bool show_special_tokens = false;
};

// Owned by one thread. The tokenizer must outlive it.
class TokenStream {
 public:
  TokenStream(const Tokenizer& tokenizer, TokenStreamOptions options);

  // Takes the next token and returns the text that is now certain: everything but an incomplete character and what may
  // be the beginning of a stop string. After stopped() it returns nothing. Invalid UTF-8 becomes U+FFFD, one for each
  // maximal invalid part (as in WHATWG).
  std::string push(TokenId token);

  // The end of the tokens: what was held back.
  std::string finish();

  // A stop string came; everything from it on was cut (or from behind it, with include_stop).
  bool stopped() const { return stopped_; }
  const std::string& stop_string() const { return stop_string_; }  // which one

 private:
  std::string release(bool at_end);
  const Tokenizer& tokenizer_;
  TokenStreamOptions options_;
  std::string bytes_;    // not yet known to be whole characters
  std::string pending_;  // whole characters, held back for a stop string
  std::string stop_string_;
  bool stopped_ = false;
};

}  // namespace carronade
