// The data behind unicode.h; scripts/generate_jinja_unicode.py writes unicode_tables.cc.
#pragma once

#include <cstddef>
#include <cstdint>

namespace carronade::jinja {

// All characters from `first` to the next run's have these properties.
struct PropertyRun {
  uint32_t first;
  uint32_t flags;
};

// Every `stride`th character of [first, last] maps to itself plus delta.
struct CaseRun {
  uint32_t first, last, stride;
  int32_t delta;
};

// A character that maps to up to three others; unused ones are 0.
struct CaseSpecial {
  uint32_t from;
  char32_t to[3];
};

extern const PropertyRun kPropertyRuns[];
extern const size_t kPropertyRunCount;
extern const uint32_t kDecimalZeros[];
extern const size_t kDecimalZeroCount;
extern const CaseRun kUpperRuns[], kLowerRuns[], kTitleRuns[], kFoldRuns[];
extern const size_t kUpperRunCount, kLowerRunCount, kTitleRunCount, kFoldRunCount;
extern const CaseSpecial kUpperSpecials[], kLowerSpecials[], kTitleSpecials[], kFoldSpecials[];
extern const size_t kUpperSpecialCount, kLowerSpecialCount, kTitleSpecialCount, kFoldSpecialCount;

}  // namespace carronade::jinja
