// Mistral 7B and its kin as published; their GGUF files say "llama". Source: Mistral 7B (Jiang et al. 2023), section 2.
// As llama, but for a sliding window in every layer (the first version; later ones have none).
#include "model/decoder.h"

namespace carronade {

const Architecture kMistral{
    .name = "mistral",
    .read_config =
        [](const Checkpoint& checkpoint) {
          return read_decoder_config(checkpoint, {.pairing = Rope::Pairing::kNeighbours});
        },
    .load = load_decoder,
};

}  // namespace carronade
