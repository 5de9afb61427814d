// Pre-tokenizers: where a text is cut into the pieces that a BPE works on, one at a time. Each is equal to the regular
// expression or the step of the `tokenizers` library that is named with it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace carronade {

// Immutable once made, so any thread may use it. `text` is valid UTF-8 of less than 2^31 bytes, not empty.
class Splitter {
 public:
  virtual ~Splitter() = default;

  // Appends the end of each piece, as an offset from the start of `text` plus `base`; the last is base + text.size().
  // Pieces are not empty.
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
std::unique_ptr<const Splitter> make_gpt4_splitter(int max_digits, bool with_marks);

// Runs of `classes` (CharClass), each `max_run` characters or fewer (0: any number), with one \s before where
// `space_prefix`.
std::unique_ptr<const Splitter> make_class_splitter(uint16_t classes, int max_run, bool space_prefix);

}  // namespace carronade
