// Python's format specification mini-language, and the numbers that it and "%" share.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace carronade::jinja {

// format(value, spec).
std::string format_with_spec(Budget& budget, const Value& value, std::string_view spec);

// ascii(value): repr() with everything beyond ASCII escaped.
std::string ascii_repr(const Value& value);

// Without sign: `kind` is one of e E f F g G; `alternate` keeps the point and trailing zeros.
std::string float_digits(double magnitude, char kind, int precision, bool alternate);

// Without sign or prefix: base 2, 8, 10 or 16.
std::string integer_digits(uint64_t magnitude, int base, bool upper);

inline uint64_t magnitude_of(int64_t value) {
  return value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
}

}  // namespace carronade::jinja
