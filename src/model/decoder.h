// The decoder that the llama family shares; an architecture's config says how it differs.
#pragma once

#include <memory>

#include "model/architecture.h"

namespace carronade {

// What an architecture's files mean where they say nothing.
struct DecoderDefaults {
  Rope::Pairing pairing = Rope::Pairing::kHalves;  // in GGUF files
  float rope_base = 10000.0f;
  int window_pattern = 0;  // with a sliding window: every n-th layer sees everything; 0: none does
};

// What all of the family read alike: extents, norm epsilon, rotation, sliding window, soft caps, vocabulary, whether
// the embeddings are tied.
ModelConfig read_decoder_config(const Checkpoint& checkpoint, const DecoderDefaults& defaults);

std::unique_ptr<Model> load_decoder(ModelConfig config, const Checkpoint& checkpoint, Backend& backend,
                                    const LoadProgress& progress);

}  // namespace carronade
