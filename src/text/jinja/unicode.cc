#include "text/jinja/unicode.h"

#include <algorithm>

#include "text/jinja/codepoints.h"
#include "text/jinja/unicode_tables.h"

namespace carronade::jinja {

namespace {

// The bits of PropertyRun::flags.
enum Property : uint32_t {
  kPrintable = 1,
  kAlpha = 2,
  kDecimal = 4,
  kDigit = 8,
  kNumeric = 16,
  kLower = 32,
  kUpper = 64,
  kTitle = 128,
  kIdentifierStart = 256,
  kIdentifierContinue = 512,
  kCased = 1024,
  kCaseIgnorable = 2048,
};

bool has(char32_t c, Property property) {
  if (c > 0x10FFFF) return false;
  const auto* after = std::upper_bound(kPropertyRuns, kPropertyRuns + kPropertyRunCount, c,
                                       [](char32_t value, const PropertyRun& run) { return value < run.first; });
  return ((after - 1)->flags & property) != 0;
}

struct CaseMap {
  const CaseRun* runs;
  size_t run_count;
  const CaseSpecial* specials;
  size_t special_count;

  void append(std::string& out, char32_t c) const {
    const auto* special = std::lower_bound(specials, specials + special_count, c,
                                           [](const CaseSpecial& entry, char32_t value) { return entry.from < value; });
    if (special != specials + special_count && special->from == c) {
      for (char32_t to : special->to) {
        if (to) append_utf8(out, to);
      }
      return;
    }
    const auto* run = std::lower_bound(runs, runs + run_count, c,
                                       [](const CaseRun& entry, char32_t value) { return entry.last < value; });
    if (run != runs + run_count && c >= run->first && (c - run->first) % run->stride == 0) {
      c = static_cast<char32_t>(static_cast<int32_t>(c) + run->delta);
    }
    append_utf8(out, c);
  }
};

const CaseMap kToUpper{kUpperRuns, kUpperRunCount, kUpperSpecials, kUpperSpecialCount};
const CaseMap kToLower{kLowerRuns, kLowerRunCount, kLowerSpecials, kLowerSpecialCount};
const CaseMap kToTitle{kTitleRuns, kTitleRunCount, kTitleSpecials, kTitleSpecialCount};
const CaseMap kToFold{kFoldRuns, kFoldRunCount, kFoldSpecials, kFoldSpecialCount};

constexpr char32_t kCapitalSigma = 0x3A3;

// Unicode's Final_Sigma: after a cased letter and before none, case-ignorable characters aside.
bool is_final_sigma(std::string_view text, size_t begin, size_t end) {
  bool cased_before = false;
  for (size_t i = begin; i > 0;) {
    const char32_t c = previous_codepoint(text, i);
    if (has(c, kCaseIgnorable)) continue;
    cased_before = has(c, kCased);
    break;
  }
  if (!cased_before) return false;
  for (size_t i = end; i < text.size();) {
    const char32_t c = next_codepoint(text, i);
    if (!has(c, kCaseIgnorable)) return !has(c, kCased);
  }
  return true;
}

void append_lower(std::string& out, std::string_view text, size_t begin, size_t end, char32_t c) {
  if (c == kCapitalSigma) {
    append_utf8(out, is_final_sigma(text, begin, end) ? 0x3C2 : 0x3C3);
  } else {
    kToLower.append(out, c);
  }
}

// Calls `change(out, c, begin, end)` for each character.
template <typename Change>
std::string map_text(std::string_view text, const Change& change) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    const char32_t c = next_codepoint(text, i);
    change(result, c, begin, i);
  }
  return result;
}

}  // namespace

bool is_printable(char32_t c) { return c < 0x80 ? c >= 32 && c < 127 : has(c, kPrintable); }
bool is_alpha(char32_t c) { return has(c, kAlpha); }
bool is_decimal(char32_t c) { return has(c, kDecimal); }
bool is_digit(char32_t c) { return has(c, kDigit); }
bool is_numeric(char32_t c) { return has(c, kNumeric); }
bool is_lower(char32_t c) { return has(c, kLower); }
bool is_upper(char32_t c) { return has(c, kUpper); }
bool is_title(char32_t c) { return has(c, kTitle); }
bool starts_identifier(char32_t c) { return has(c, kIdentifierStart); }
bool continues_identifier(char32_t c) { return has(c, kIdentifierContinue); }

int decimal_value(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9' ? static_cast<int>(c - '0') : -1;
  const auto* after = std::upper_bound(kDecimalZeros, kDecimalZeros + kDecimalZeroCount, c);
  const char32_t value = c - *(after - 1);
  return value <= 9 ? static_cast<int>(value) : -1;
}

std::string to_upper(std::string_view text) {
  if (is_ascii(text)) {
    std::string result(text);
    for (char& c : result) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    return result;
  }
  return map_text(text, [](std::string& out, char32_t c, size_t, size_t) { kToUpper.append(out, c); });
}

std::string to_lower(std::string_view text) {
  if (is_ascii(text)) {
    std::string result(text);
    for (char& c : result) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    return result;
  }
  return map_text(
      text, [&](std::string& out, char32_t c, size_t begin, size_t end) { append_lower(out, text, begin, end, c); });
}

std::string to_title(std::string_view text) {
  bool inside = false;
  return map_text(text, [&](std::string& out, char32_t c, size_t begin, size_t end) {
    if (inside) {
      append_lower(out, text, begin, end, c);
    } else {
      kToTitle.append(out, c);
    }
    inside = has(c, kCased);
  });
}

std::string capitalize(std::string_view text) {
  return map_text(text, [&](std::string& out, char32_t c, size_t begin, size_t end) {
    if (begin == 0) {
      kToTitle.append(out, c);
    } else {
      append_lower(out, text, begin, end, c);
    }
  });
}

std::string swap_case(std::string_view text) {
  return map_text(text, [&](std::string& out, char32_t c, size_t begin, size_t end) {
    if (is_upper(c)) {
      append_lower(out, text, begin, end, c);
    } else if (is_lower(c)) {
      kToUpper.append(out, c);
    } else {
      append_utf8(out, c);
    }
  });
}

std::string fold_case(std::string_view text) {
  return map_text(text, [](std::string& out, char32_t c, size_t, size_t) { kToFold.append(out, c); });
}

}  // namespace carronade::jinja
