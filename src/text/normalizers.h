// The normalizers that tokenizers are made of; names as in the `tokenizers` library. Each is a Normalizer of
// pipeline.h.
#pragma once

#include <memory>
#include <string>

#include "text/pipeline.h"

namespace carronade {

std::unique_ptr<const Normalizer> make_nfc_normalizer();
std::unique_ptr<const Normalizer> make_nfd_normalizer();
std::unique_ptr<const Normalizer> make_lowercase_normalizer();
std::unique_ptr<const Normalizer> make_strip_accents_normalizer();

// Puts `prefix` before a text that is not empty; `only_first`: only before the whole text; `unless_there`: not where
// the text begins so.
std::unique_ptr<const Normalizer> make_prepend_normalizer(std::string prefix, bool only_first, bool unless_there);

// Every `from`, which is not empty, becomes `to`.
std::unique_ptr<const Normalizer> make_replace_normalizer(std::string from, std::string to);

// Takes white space away at the sides.
std::unique_ptr<const Normalizer> make_strip_normalizer(bool left, bool right);

struct BertNormalizerOptions {
  bool clean_text = true;
  bool handle_chinese_chars = true;  // a space on both sides
  bool strip_accents = true;
  bool lowercase = true;
};
std::unique_ptr<const Normalizer> make_bert_normalizer(const BertNormalizerOptions& options);

}  // namespace carronade
