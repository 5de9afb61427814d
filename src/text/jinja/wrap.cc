#include "text/jinja/wrap.h"

#include <algorithm>

#include "text/jinja/codepoints.h"
#include "text/jinja/unicode.h"
#include "text/jinja/value.h"

namespace carronade::jinja {

namespace {

// textwrap knows only ASCII's white space.
bool is_blank(char32_t c) { return c == ' ' || (c >= 9 && c <= 13); }
bool is_letter(char32_t c) { return is_word(c) && !is_decimal(c) && c != '_'; }

// Words and white space in turn; hyphenated words fall apart behind their hyphens.
std::vector<std::u32string> split_chunks(const std::u32string& text, bool break_on_hyphens) {
  std::vector<std::u32string> chunks;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    const bool blank = is_blank(text[i]);
    while (i < text.size() && is_blank(text[i]) == blank) {
      ++i;
      const bool hyphen = break_on_hyphens && !blank && text[i - 1] == '-' && i - begin >= 3 && i + 1 < text.size();
      if (!hyphen || !is_letter(text[i - 2]) || !is_letter(text[i - 3]) || !is_letter(text[i])) continue;
      if (is_letter(text[i + 1]) || (text[i + 1] == '-' && i + 2 < text.size() && is_letter(text[i + 2]))) break;
    }
    chunks.push_back(text.substr(begin, i - begin));
  }
  return chunks;
}

bool all_blank(const std::u32string& chunk) {
  return chunk.empty() || strip_space(to_utf8(chunk), Side::kBoth).empty();
}

}  // namespace

std::vector<std::string> wrap_line(Budget& budget, std::string_view text, int64_t width, bool break_long_words,
                                   bool break_on_hyphens) {
  std::vector<std::u32string> rest = split_chunks(to_codepoints(text), break_on_hyphens);
  if (width <= 0) raise("invalid width " + std::to_string(width) + " (must be > 0)");
  std::reverse(rest.begin(), rest.end());
  std::vector<std::string> lines;
  const auto columns = static_cast<size_t>(width);
  while (!rest.empty()) {
    budget.step(4);
    if (!lines.empty() && all_blank(rest.back())) rest.pop_back();
    std::vector<std::u32string> line;
    size_t length = 0;
    while (!rest.empty() && length + rest.back().size() <= columns) {
      length += rest.back().size();
      line.push_back(std::move(rest.back()));
      rest.pop_back();
    }
    if (!rest.empty() && rest.back().size() > columns) {
      if (break_long_words) {
        const size_t room = columns - length;
        size_t cut = room;
        if (break_on_hyphens && rest.back().size() > room && room > 0) {
          const size_t hyphen = rest.back().rfind(U'-', room - 1);
          if (hyphen != std::u32string::npos && hyphen > 0 && rest.back().find_first_not_of(U'-') < hyphen) {
            cut = hyphen + 1;
          }
        }
        line.push_back(rest.back().substr(0, cut));
        rest.back().erase(0, cut);
      } else if (line.empty()) {
        line.push_back(std::move(rest.back()));
        rest.pop_back();
      }
    }
    if (!line.empty() && all_blank(line.back())) line.pop_back();
    if (line.empty()) continue;
    std::u32string joined;
    for (const auto& chunk : line) joined += chunk;
    lines.push_back(to_utf8(joined));
  }
  return lines;
}

}  // namespace carronade::jinja
