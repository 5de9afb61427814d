// JSON files that come with a checkpoint, read with limits: their size, how deep they nest, no key twice in an object.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace carronade {

inline constexpr uint64_t kMostConfigBytes = 16 << 20;

// `file` is what errors begin with. Throws Error{kCorruptFile}.
nlohmann::json parse_json(std::string_view text, const std::string& file, int most_depth);

// An object, or nullopt when there is no such file. Throws Error{kCorruptFile | kTooLarge | kIo}.
std::optional<nlohmann::json> read_json_object(const std::filesystem::path& path);

}  // namespace carronade
