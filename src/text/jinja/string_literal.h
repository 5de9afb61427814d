// String literals of templates, which are Python's.
#pragma once

#include <string>
#include <string_view>

namespace carronade::jinja {

// The meaning of what stands between the quotes. Returns null, or Python's message about a broken escape.
const char* unescape_literal(std::string_view body, std::string& out);

}  // namespace carronade::jinja
