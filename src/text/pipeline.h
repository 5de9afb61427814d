// The steps between a text and its tokens, whatever kind of file described them: added tokens → normalizers → splitters
// → model.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/splitter.h"
#include "text/tokenizer.h"

namespace carronade {

// Changes a text before it is split. Immutable once made, so any thread may use it.
class Normalizer {
 public:
  virtual ~Normalizer() = default;

  // `text` is valid UTF-8, possibly a view of `buffer`; `first`: it begins the whole text. Returns `text` itself or a
  // view of `buffer`.
  virtual std::string_view apply(std::string_view text, bool first, std::string& buffer) const = 0;
};

// A token that is found in the text before anything else happens to it.
struct AddedToken {
  std::string content;
  TokenId id = -1;
  bool special = false;      // found only with EncodeOptions::parse_special
  bool single_word = false;  // not inside of a word
  bool left_strip = false;   // takes the white space before it
  bool right_strip = false;  // takes the white space behind it
  bool normalized = false;   // looked for after the normalizers, not before
};

struct TokenizerPipeline {
  enum class Model : uint8_t { kByteLevelBpe, kCharBpe, kWordPiece };

  Model model = Model::kByteLevelBpe;
  std::vector<AddedToken> added;
  std::vector<std::unique_ptr<const Normalizer>> normalizers;
  std::vector<std::unique_ptr<const Splitter>> splitters;  // each splits the pieces of the one before
  bool ignore_merges = false;                              // a piece that is a token becomes it, without merging
  bool byte_fallback = false;    // an unknown character becomes the tokens <0xNN> of its bytes
  bool fuse_unknown = false;     // unknown characters in a row become one unknown token
  bool merges_by_score = false;  // no list of merges: two tokens merge to a token, the best score first (SentencePiece)
  std::string continuation;      // WordPiece: what the files spell before a token that continues a word
  std::string word_start;        // WordPiece: what they spell before one that begins it
  size_t max_word_characters = 0;       // WordPiece: a longer word is unknown; 0: no limit
  TokenId unknown = -1;                 // stands for what the vocabulary cannot spell; -1: that is left out
  std::vector<TokenId> prefix, suffix;  // EncodeOptions::add_special puts these around
};

// What `data.model` and `data.pre` mean, for a description from GGUF. Throws Error{kUnsupported} for names it does not
// know.
TokenizerPipeline pipeline_from_names(const TokenizerData& data);

// Where no token has U+2581 behind another character, merging never crosses from a word to the next one, and words can
// be merged one by one (and remembered). Adds the splitter for that.
void split_at_words_where_safe(const TokenizerData& data, TokenizerPipeline& pipeline);

}  // namespace carronade
