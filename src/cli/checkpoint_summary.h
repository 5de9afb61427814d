// What a model's file says about itself, for `show`.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace carronade {

struct CheckpointSummary {
  std::string format;        // "GGUF v3"
  std::string architecture;  // "qwen2"
  std::optional<int64_t> context_length;
  std::optional<int64_t> layers;
  int64_t parameters = 0;
  std::map<std::string, size_t> types;  // tensors of each type
  bool has_chat_template = false;
};

// Reads the header only. Throws what Checkpoint::open() throws.
CheckpointSummary summarize_checkpoint(const std::filesystem::path& path);

}  // namespace carronade
