// What is typed at `carronade key add`, read.
#pragma once

#include <cstdint>
#include <string>

namespace carronade {

// "90m", "12h", "30d", "8w" from now on; "2027-01-31" (from its beginning, UTC) or "2027-01-31T18:00:00Z". Seconds
// since 1970. Throws Error{kInvalidArgument, …, "--expires"} for anything else, and for what is not after `now`.
int64_t parse_expiry(const std::string& text, int64_t now);

// "2027-01-31 18:00"; UTC.
std::string time_text(int64_t seconds);

// "100000", "100k", "2M". At least 1. Throws Error{kInvalidArgument, …, flag}.
int64_t parse_limit(const std::string& text, const std::string& flag);

}  // namespace carronade
