// The decoder that the llama family shares; an architecture says how it differs.
#pragma once

#include <memory>
#include <string_view>

#include "model/model.h"

namespace carronade {

// What one architecture adds: its name in checkpoints, how its config reads, and which optional weights its layers
// have.
struct Architecture {
  std::string_view name;
  ModelConfig (*read_config)(const Checkpoint& checkpoint);
  bool qkv_bias = false;
};

extern const Architecture kQwen2;  // qwen2.cc
extern const Architecture kLlama;  // llama.cc

// What all of the family read alike: extents, norm epsilon, rotation, vocabulary, whether the embeddings are tied.
// `pairing` is the architecture's in GGUF files; a reader of another format overrides it with the metadata key
// "carronade.rope.pairing" (halves | neighbours).
ModelConfig read_decoder_config(const Checkpoint& checkpoint, Rope::Pairing pairing);

std::unique_ptr<Model> load_decoder(const Architecture& architecture, const Checkpoint& checkpoint, Backend& backend,
                                    const LoadProgress& progress);

}  // namespace carronade
