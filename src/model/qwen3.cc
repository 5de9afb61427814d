// Qwen3 (dense), and its embedding models. Source: Qwen3 Technical Report (2025), section 2. As qwen2, but each head of
// q and k is normed and there are no biases; a head may be wider than hidden / heads.
#include "model/decoder.h"

namespace carronade {

const Architecture kQwen3{
    .name = "qwen3",
    .read_config =
        [](const Checkpoint& checkpoint) {
          ModelConfig config = read_decoder_config(checkpoint, {});
          config.qk_norm = true;
          return config;
        },
    .load = load_decoder,
};

}  // namespace carronade
