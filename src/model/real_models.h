// Where tests find real weights. Only tests include it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/file.h"

namespace carronade {

// $CARRONADE_TEST_MODELS/<name>.gguf, else what `carronade pull <name>` left in the cache.
inline std::optional<std::filesystem::path> find_real_model(std::string_view name) {
  namespace fs = std::filesystem;
  if (const char* folder = std::getenv("CARRONADE_TEST_MODELS"); folder && *folder) {
    const fs::path path = fs::path(folder) / (std::string(name) + ".gguf");
    if (fs::exists(path)) return path;
  }
  std::error_code error;
  const fs::path pulled = cache_dir() / "models" / name;
  for (fs::recursive_directory_iterator entry(pulled, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == ".gguf") return entry->path();
  }
  return std::nullopt;
}

// With CARRONADE_REQUIRE_MODELS set a missing model is a failure and not a skipped test.
inline bool real_models_are_required() { return std::getenv("CARRONADE_REQUIRE_MODELS") != nullptr; }

}  // namespace carronade
