// Llama 1 to 3.3 and its kin (SmolLM2, TinyLlama), and Mistral in GGUF files. Source: LLaMA (Touvron et al. 2023),
// section 2.2. GGUF files hold q and k permuted, so that rotation takes neighbours. Llama 3.1's stretched rotation
// comes as the tensor rope_freqs.weight.
#include "model/decoder.h"

namespace carronade {

const Architecture kLlama{
    .name = "llama",
    .read_config =
        [](const Checkpoint& checkpoint) {
          return read_decoder_config(checkpoint, {.pairing = Rope::Pairing::kNeighbours});
        },
    .load = load_decoder,
};

}  // namespace carronade
