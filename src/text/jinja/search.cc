#include "text/jinja/search.h"

#include <string.h>

#include <vector>

namespace carronade::jinja {

size_t find_text(std::string_view text, std::string_view needle, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (needle.empty()) return from;
  const void* found = ::memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  return found ? static_cast<size_t>(static_cast<const char*>(found) - text.data()) : std::string_view::npos;
}

size_t find_last_text(std::string_view text, std::string_view needle) {
  constexpr size_t kShort = 16;  // up to here the naive search's worst case is no worse
  if (needle.size() <= kShort) return text.rfind(needle);
  if (needle.size() > text.size()) return std::string_view::npos;
  // Knuth-Morris-Pratt from the right.
  const size_t length = needle.size();
  const auto reversed = [&](size_t i) { return needle[length - 1 - i]; };
  std::vector<size_t> border(length, 0);
  for (size_t i = 1, k = 0; i < length; ++i) {
    while (k > 0 && reversed(i) != reversed(k)) k = border[k - 1];
    if (reversed(i) == reversed(k)) ++k;
    border[i] = k;
  }
  for (size_t i = text.size(), k = 0; i > 0; --i) {
    while (k > 0 && text[i - 1] != reversed(k)) k = border[k - 1];
    if (text[i - 1] == reversed(k)) ++k;
    if (k == length) return i - 1;
  }
  return std::string_view::npos;
}

}  // namespace carronade::jinja
