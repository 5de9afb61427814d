// Names that come from outside (users, hubs) and become folders and files here: what is allowed, and how they are
// written.
#pragma once

#include <string>
#include <string_view>

namespace carronade {

std::string lower_case(std::string_view text);  // ASCII

// 64 lower-case hexadecimal digits.
bool is_sha256(std::string_view text);

// A file name for any text: letters, digits, '.', '_', '-' and '@' stay, "/" becomes "--", the rest %XX; never hidden,
// "." or "..". Longer than 160 bytes, the end is replaced by a hash.
std::string encode_name(std::string_view text);

// "org/repo" of 1 to 96 letters, digits, '.', '_' and '-' a part, as the hubs allow. Throws Error{kInvalidArgument}.
void check_repository(std::string_view repository);

// A path that stays below its folder: relative, no "..", no control characters, no backslash. Throws
// Error{kInvalidArgument}.
void check_relative_path(std::string_view path);

// Percent-encodes a path for a URL; "/" stays.
std::string url_path(std::string_view path);

// "https://host[:port]" of a URL, or the text itself when it has no such form; for messages.
std::string url_origin(std::string_view url);

}  // namespace carronade
