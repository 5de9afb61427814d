// Pre-tokenizers: where a text is cut into the pieces that a BPE works on, one at a time. Each is equal to the regular
// expression or the step of the `tokenizers` library that is named with it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace carronade {

constexpr uint32_t kRemovedPiece = uint32_t{1} << 31;

// Immutable once made, so any thread may use it. `text` is valid UTF-8 of less than 2^31 bytes, not empty.
class Splitter {
 public:
  virtual ~Splitter() = default;

  // Appends the end of each piece, as an offset from the start of `text` plus `base`; the last is base + text.size().
  // Pieces are not empty.
  // A piece that is no text but a separator has kRemovedPiece in its end.
  virtual void split(std::string_view text, uint32_t base, std::vector<uint32_t>& ends) const = 0;
};

// The steps of a byte-level BPE's pre-tokenizer by its name in GGUF's `tokenizer.ggml.pre`; empty for an unknown name.
std::vector<std::unique_ptr<const Splitter>> splitters_by_name(std::string_view name);

// The names that splitters_by_name knows, for a message.
std::string known_splitter_names();

// GPT-2's: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::unique_ptr<const Splitter> make_gpt2_splitter();

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,max_digits}|
// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ with_marks: [\p{L}\p{M}]+ in place of \p{L}+, and \p{M} is no
// punctuation.
// fold_case: (?i:) folds as Unicode does (U+017F is an "s"); without it the contractions are spelled (?:'[sS]|…).
std::unique_ptr<const Splitter> make_gpt4_splitter(int max_digits, bool with_marks, bool fold_case = true);

// White space removed, each delimiter a piece: `BertPreTokenizer`.
std::unique_ptr<const Splitter> make_bert_splitter();

// Before each run of `mark`, which is not empty.
std::unique_ptr<const Splitter> make_before_splitter(std::string mark);

// What a Split or Punctuation step does with its matches; names as in the `tokenizers` library.
enum class SplitBehavior : uint8_t { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// [start, end) of matches in a text, in order, not overlapping → ends of pieces.
void append_pieces(const std::vector<std::pair<uint32_t, uint32_t>>& matches, uint32_t size, SplitBehavior behavior,
                   bool invert, uint32_t base, std::vector<uint32_t>& ends);

// The hand-written splitter that is equal to a `Split` (isolated) of this regular expression, or null.
std::unique_ptr<const Splitter> splitter_by_regex(std::string_view regex);

// Each occurrence of a string that is not empty.
std::unique_ptr<const Splitter> make_string_splitter(std::string pattern, SplitBehavior behavior, bool invert);

// Each character of `classes` (CharClass).
std::unique_ptr<const Splitter> make_character_splitter(uint16_t classes, SplitBehavior behavior);

// Any other regular expression, over PCRE2 and its Unicode version. Throws Error{kUnsupported} where it cannot be
// compiled, with the reason.
std::unique_ptr<const Splitter> make_regex_splitter(const std::string& regex, SplitBehavior behavior, bool invert);

// Runs of `classes` (CharClass), each `max_run` characters or fewer (0: any number), with one \s before where
// `space_prefix`.
std::unique_ptr<const Splitter> make_class_splitter(uint16_t classes, int max_run, bool space_prefix);

}  // namespace carronade
