// Searching text in linear time whatever the text, as strangers choose both sides.
#pragma once

#include <cstddef>
#include <string_view>

namespace carronade::jinja {

// The first, or last, place of `needle` that begins at `from` or later; npos if there is none.
size_t find_text(std::string_view text, std::string_view needle, size_t from);
size_t find_last_text(std::string_view text, std::string_view needle);

}  // namespace carronade::jinja
