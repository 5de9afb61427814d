#include "text/unicode.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/unicode_tables.h"

namespace carronade {

using namespace unicode_tables;

CharClasses::CharClasses() {
  constexpr size_t kPages = std::size(decltype(index_){});
  size_t used = 0;
  size_t range = 0;
  uint16_t page[128];
  for (size_t i = 0; i < kPages; ++i) {
    for (size_t j = 0; j < 128; ++j) {
      while (range + 1 < kClassRangeCount && kClassRanges[range + 1].first <= i * 128 + j) ++range;
      page[j] = kClassRanges[range].classes;
    }
    size_t same = 0;
    while (same < used && std::memcmp(pages_ + same * 128, page, sizeof(page)) != 0) ++same;
    if (same == used) {
      std::memcpy(pages_ + same * 128, page, sizeof(page));
      ++used;  // below 256 with every Unicode version so far; the test of all code points would tell
    }
    index_[i] = static_cast<uint8_t>(same);
  }
}

const CharClasses& CharClasses::instance() {
  static const CharClasses classes;
  return classes;
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | c >> 6));
    out.push_back(static_cast<char>(0x80 | (c & 63)));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | c >> 12));
    out.push_back(static_cast<char>(0x80 | (c >> 6 & 63)));
    out.push_back(static_cast<char>(0x80 | (c & 63)));
  } else {
    out.push_back(static_cast<char>(0xF0 | c >> 18));
    out.push_back(static_cast<char>(0x80 | (c >> 12 & 63)));
    out.push_back(static_cast<char>(0x80 | (c >> 6 & 63)));
    out.push_back(static_cast<char>(0x80 | (c & 63)));
  }
}

Utf8Part next_utf8_part(std::string_view text, size_t position) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data()) + position;
  const size_t left = text.size() - position;
  const unsigned char lead = p[0];
  if (lead < 0x80) return {Utf8State::kWhole, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8State::kInvalid, 1};
  const uint32_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // Table 3-7 of the Unicode standard: only the second byte's range depends on the first.
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (uint32_t i = 1; i < length; ++i) {
    if (i >= left) return {Utf8State::kCut, i};
    if (p[i] < (i == 1 ? low : 0x80) || p[i] > (i == 1 ? high : 0xBF)) return {Utf8State::kInvalid, i};
  }
  return {Utf8State::kWhole, length};
}

namespace {

// The length of the run of ASCII at the start, eight bytes at a time.
size_t ascii_run(std::string_view text, size_t from) {
  size_t i = from;
  for (uint64_t word = 0; i + 8 <= text.size(); i += 8) {
    std::memcpy(&word, text.data() + i, 8);
    if (word & 0x8080808080808080ull) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i;
}

size_t valid_run(std::string_view text) {
  for (size_t i = 0;;) {
    i = ascii_run(text, i);
    if (i == text.size()) return i;
    const Utf8Part part = next_utf8_part(text, i);
    if (part.state != Utf8State::kWhole) return i;
    i += part.length;
  }
}

}  // namespace

bool is_valid_utf8(std::string_view text) { return valid_run(text) == text.size(); }

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 16);
  while (!text.empty()) {
    const size_t valid = valid_run(text);
    out.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) break;
    out.append("\xEF\xBF\xBD");
    text.remove_prefix(next_utf8_part(text, 0).length);
  }
  return out;
}

namespace {

constexpr char32_t kHangulBase = 0xAC00, kHangulL = 0x1100, kHangulV = 0x1161, kHangulT = 0x11A7;
constexpr char32_t kHangulLCount = 19, kHangulVCount = 21, kHangulTCount = 28, kHangulCount = 11172;

// Everything below is in normal form C and D alike, or a starter that nothing composes with.
constexpr char32_t kFirstCombining = 0x300;
constexpr char32_t kFirstDecomposing = 0xC0;

class NormalizationTables {
 public:
  static const NormalizationTables& instance() {
    static const NormalizationTables tables;
    return tables;
  }

  uint8_t combining_class(char32_t c) const {
    if (c < kFirstCombining) return 0;
    const auto* end = kCombiningRanges + kCombiningRangeCount;
    const auto* it =
        std::upper_bound(kCombiningRanges, end, c, [](char32_t v, const CombiningRange& r) { return v < r.first; });
    return it != kCombiningRanges && c <= it[-1].last ? it[-1].combining_class : 0;
  }

  void append_decomposed(char32_t c, std::vector<char32_t>& out) const {
    if (c >= kHangulBase && c < kHangulBase + kHangulCount) {
      const char32_t index = c - kHangulBase;
      out.push_back(kHangulL + index / (kHangulVCount * kHangulTCount));
      out.push_back(kHangulV + index % (kHangulVCount * kHangulTCount) / kHangulTCount);
      if (index % kHangulTCount != 0) out.push_back(kHangulT + index % kHangulTCount);
      return;
    }
    const auto* end = kDecompositions + kDecompositionCount;
    const auto* it =
        std::lower_bound(kDecompositions, end, c, [](const Decomposition& d, char32_t v) { return d.character < v; });
    if (it == end || it->character != c) {
      out.push_back(c);
      return;
    }
    append_decomposed(it->first, out);  // the data nest at most four deep
    if (it->second != 0) append_decomposed(it->second, out);
  }

  // The character that a and b compose to, or 0.
  char32_t composed(char32_t a, char32_t b) const {
    if (a >= kHangulL && a < kHangulL + kHangulLCount && b >= kHangulV && b < kHangulV + kHangulVCount) {
      return kHangulBase + ((a - kHangulL) * kHangulVCount + (b - kHangulV)) * kHangulTCount;
    }
    if (a >= kHangulBase && a < kHangulBase + kHangulCount && (a - kHangulBase) % kHangulTCount == 0 && b > kHangulT &&
        b < kHangulT + kHangulTCount) {
      return a + (b - kHangulT);
    }
    const auto it = compositions_.find(static_cast<uint64_t>(a) << 32 | b);
    return it == compositions_.end() ? 0 : it->second;
  }

  // May be changed by composition, or change what stands before it: a cheap test for "is surely in form C".
  bool may_change(char32_t c) const { return c >= kFirstCombining && (changes_[c >> 3] >> (c & 7) & 1) != 0; }

 private:
  NormalizationTables() : changes_(0x110000 / 8) {
    const auto mark = [this](char32_t c) { changes_[c >> 3] |= static_cast<uint8_t>(1 << (c & 7)); };
    for (size_t i = 0; i < kDecompositionCount; ++i) {
      const Decomposition& d = kDecompositions[i];
      if (d.composes) {
        compositions_.emplace(static_cast<uint64_t>(d.first) << 32 | d.second, d.character);
        mark(d.second);
      } else {
        mark(d.character);
      }
    }
    for (size_t i = 0; i < kCombiningRangeCount; ++i) {
      for (char32_t c = kCombiningRanges[i].first; c <= kCombiningRanges[i].last; ++c) mark(c);
    }
    for (char32_t c = kHangulV; c < kHangulV + kHangulVCount; ++c) mark(c);
    for (char32_t c = kHangulT + 1; c < kHangulT + kHangulTCount; ++c) mark(c);
  }

  std::unordered_map<uint64_t, char32_t> compositions_;
  std::vector<uint8_t> changes_;  // one bit a code point
};

// Canonical ordering: each run of non-starters stably by class.
void order(std::vector<char32_t>& text, const NormalizationTables& tables) {
  std::vector<std::pair<uint8_t, char32_t>> run;
  for (size_t i = 0; i < text.size();) {
    run.clear();
    for (size_t j = i; j < text.size(); ++j) {
      const uint8_t combining = tables.combining_class(text[j]);
      if (combining == 0) break;
      run.emplace_back(combining, text[j]);
    }
    if (run.size() > 1) {
      std::stable_sort(run.begin(), run.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      for (size_t j = 0; j < run.size(); ++j) text[i + j] = run[j].second;
    }
    i += run.size() + 1;
  }
}

void compose(std::vector<char32_t>& text, const NormalizationTables& tables) {
  size_t out = 0;
  size_t starter = text.size();  // index in the output, or none
  uint8_t last_class = 0;
  for (const char32_t c : text) {
    const uint8_t combining = tables.combining_class(c);
    // Blocked: something of the same or a higher class (or, for a starter, anything) stands between.
    const bool adjacent = starter != text.size() && starter + 1 == out;
    const bool open =
        starter != text.size() && (adjacent || (combining != 0 && last_class < combining && last_class != 0));
    if (open) {
      if (const char32_t both = tables.composed(text[starter], c); both != 0) {
        text[starter] = both;
        continue;
      }
    }
    if (combining == 0) starter = out;
    last_class = combining;
    text[out++] = c;
  }
  text.resize(out);
}

// Normalizes `region`, which starts with a character that joins nothing before it and ends before another such
// character.
void append_normalized(std::string_view region, bool composed, std::vector<char32_t>& characters, std::string& out) {
  const NormalizationTables& tables = NormalizationTables::instance();
  characters.clear();
  for (size_t i = 0; i < region.size();) {
    const DecodedChar c = decode_char(region, i);
    if (c.value < kFirstDecomposing) {
      characters.push_back(c.value);
    } else {
      tables.append_decomposed(c.value, characters);
    }
    i += c.length;
  }
  order(characters, tables);
  if (composed) compose(characters, tables);
  for (const char32_t c : characters) append_utf8(out, c);
}

std::string_view normalize(std::string_view text, std::string& buffer, bool composed) {
  const NormalizationTables& tables = NormalizationTables::instance();
  const auto stable = [&](char32_t c) { return composed ? !tables.may_change(c) : c < kFirstDecomposing; };
  std::string result;
  std::vector<char32_t> characters;
  size_t copied = 0;       // how much of the text is in the result
  size_t last_stable = 0;  // where a region would begin
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      i = ascii_run(text, i);
      last_stable = i - 1;
      continue;
    }
    const DecodedChar c = decode_char(text, i);
    if (stable(c.value)) {
      last_stable = i;
      i += c.length;
      continue;
    }
    for (i += c.length; i < text.size();) {
      const DecodedChar next = decode_char(text, i);
      if (stable(next.value)) break;
      i += next.length;
    }
    result.append(text.substr(copied, last_stable - copied));
    append_normalized(text.substr(last_stable, i - last_stable), composed, characters, result);
    copied = last_stable = i;
  }
  if (copied == 0) return text;
  result.append(text.substr(copied));
  buffer = std::move(result);  // `text` may have been a view of it
  return buffer;
}

}  // namespace

std::string_view to_nfc(std::string_view text, std::string& buffer) { return normalize(text, buffer, true); }
std::string_view to_nfd(std::string_view text, std::string& buffer) { return normalize(text, buffer, false); }

std::string_view to_lower(std::string_view text, std::string& buffer) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const DecodedChar c = decode_char(text, i);
    i += c.length;
    if (c.value < 0x80) {
      result.push_back(static_cast<char>(c.value >= 'A' && c.value <= 'Z' ? c.value + 32 : c.value));
      continue;
    }
    const auto* end = kLowercases + kLowercaseCount;
    const auto* it =
        std::lower_bound(kLowercases, end, c.value, [](const Lowercase& l, char32_t v) { return l.character < v; });
    if (it == end || it->character != c.value) {
      append_utf8(result, c.value);
    } else {
      append_utf8(result, it->first);
      if (it->second != 0) append_utf8(result, it->second);
    }
  }
  buffer = std::move(result);
  return buffer;
}

}  // namespace carronade
