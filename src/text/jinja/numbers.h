// Reading numbers as Python's int() and float() do.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace carronade::jinja {

// int(text, base); base 0 goes by the prefix. Throws where the number needs more than 64 bits, or for an impossible
// base.
std::optional<int64_t> parse_int(std::string_view text, int64_t base);
std::optional<double> parse_float(std::string_view text);

}  // namespace carronade::jinja
