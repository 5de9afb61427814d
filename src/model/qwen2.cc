// Qwen2 and Qwen2.5, and what was distilled into them (DeepSeek-R1-Distill-Qwen). Source: Qwen2 Technical Report
// (2024), section 2. As llama, but for biases on q, k and v, and rotation of the two halves of a head.
#include "model/decoder.h"

namespace carronade {

const Architecture kQwen2{
    .name = "qwen2",
    .read_config =
        [](const Checkpoint& checkpoint) {
          ModelConfig config = read_decoder_config(checkpoint, {});
          config.qkv_bias = true;
          return config;
        },
    .load = load_decoder,
};

}  // namespace carronade
