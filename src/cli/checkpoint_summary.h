// What a model's files say about themselves, for `show`.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hub/memory_need.h"

namespace carronade {

struct CheckpointSummary {
  struct Type {
    std::string name;  // "Q4_K"
    size_t tensors = 0;
    int64_t numbers = 0;
    uint64_t bytes = 0;
  };

  std::string format;        // "GGUF v3"
  std::string name;          // the model's own, or empty
  std::string licence;       // as the files say it, or empty
  std::string architecture;  // "qwen2"
  bool supported = true;     // the architecture is
  std::optional<int64_t> context_length, layers, hidden, heads, kv_heads, vocabulary;
  std::string tokenizer;  // "gpt2 (qwen2)", or empty
  int64_t parameters = 0;
  uint64_t file_bytes = 0;
  std::vector<Type> types;  // most bytes first
  std::optional<std::string> chat_template;
  MemoryNeed memory;
};

// Reads what is before the weights only. Throws what Checkpoint::open() throws.
CheckpointSummary summarize_checkpoint(const std::filesystem::path& path);

}  // namespace carronade
