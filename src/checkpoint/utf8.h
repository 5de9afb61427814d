// Names and texts that come out of a file end up in JSON and on terminals, so they must be valid UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace carronade {

bool is_utf8(std::string_view text);

// The text with every invalid byte replaced by U+FFFD.
std::string repaired_utf8(std::string_view text);

}  // namespace carronade
