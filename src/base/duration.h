// Times as people write them.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace carronade {

// Longer than any wait. Every other duration of this header can be added to a clock's time in nanoseconds.
inline constexpr std::chrono::milliseconds kForever = std::chrono::milliseconds::max();

// "5m", "1h30m", "1.5s", "300ms" as Go writes them (units ms, s, m, h), and "90" or "0": seconds. Whatever is negative
// is kForever, as with Ollama, and what is longer than 4e9 seconds. nullopt: not a duration. Source: Go's
// time.ParseDuration; Ollama's keep_alive.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);
std::chrono::milliseconds duration_of_seconds(double seconds);  // the same of a number

// "5m", "1h30m", "1.5s", "for ever".
std::string duration_text(std::chrono::milliseconds duration);

}  // namespace carronade
