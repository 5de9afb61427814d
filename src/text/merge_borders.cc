#include "text/merge_borders.h"

#include <algorithm>

namespace carronade {

// `before` and `after` are 1 to kContext.
size_t MergeBorders::slot(std::string_view text, size_t border, size_t before, size_t after) {
  uint64_t key = before * (kContext + 1) + after;
  for (size_t i = border - before; i < border + after; ++i) key = key << 8 | static_cast<unsigned char>(text[i]);
  const uint64_t hash = key * 0x9E3779B97F4A7C15ull;
  const bool full = before == kContext && after == kContext;
  return static_cast<size_t>(full ? hash >> (64 - kFullBits) : (hash >> (64 - kPartialBits)) + (1u << kFullBits));
}

void MergeBorders::add(std::string_view token) {
  for (size_t border = 1; border < token.size(); ++border) {
    if (!starts_character(token[border])) continue;
    const size_t bit = slot(token, border, std::min(border, kContext), std::min(token.size() - border, kContext));
    bits_[bit / 64] |= uint64_t{1} << bit % 64;
  }
}

bool MergeBorders::is_inside(std::string_view text, size_t start, size_t border) const {
  const size_t most_before = std::min(border - start, kContext), most_after = std::min(text.size() - border, kContext);
  for (size_t before = most_before; before > 0; --before) {
    for (size_t after = most_after; after > 0; --after) {
      const size_t bit = slot(text, border, before, after);
      if (bits_[bit / 64] >> bit % 64 & 1) return true;
    }
  }
  return false;
}

size_t MergeBorders::stretch_end(std::string_view text, size_t start) const {
  for (size_t border = start + 1; border < text.size(); ++border) {
    if (starts_character(text[border]) && !is_inside(text, start, border)) return border;
  }
  return text.size();
}

}  // namespace carronade
