// An architecture: a name in checkpoints, how its config reads, and what runs it. Each has its own small file.
#pragma once

#include <memory>
#include <string_view>

#include "model/model.h"

namespace carronade {

struct Architecture {
  std::string_view name;
  ModelConfig (*read_config)(const Checkpoint& checkpoint);
  std::unique_ptr<Model> (*load)(ModelConfig config, const Checkpoint& checkpoint, Backend& backend,
                                 const LoadProgress& progress);
};

// What all read alike: name, extents, attention's shape, vocabulary, pooling (`pooling` where the file says nothing).
ModelConfig read_common_config(const Checkpoint& checkpoint, Pooling pooling);

extern const Architecture kQwen2;    // qwen2.cc
extern const Architecture kQwen3;    // qwen3.cc
extern const Architecture kLlama;    // llama.cc
extern const Architecture kMistral;  // mistral.cc
extern const Architecture kGemma3;   // gemma3.cc
extern const Architecture kBert;     // bert.cc

}  // namespace carronade
