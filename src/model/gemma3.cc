// Gemma 3, its language model. Source: Gemma 3 Technical Report (2025), section 2. Norms before and after each part,
// heads of q and k normed, GELU; five of six layers see a window only and have a rotation of their own, unscaled.
#include <cmath>

#include "model/decoder.h"
#include "model/metadata.h"

namespace carronade {
namespace {

constexpr float kGlobalBase = 1e6f, kLocalBase = 1e4f;
constexpr int kWindowPattern = 6;
constexpr int kLayersOf27B = 62;

// The published scalar where it was carried over; GGUF files have none, and only the 27 B model's is not the head's
// extent but hidden / heads.
float attention_scale(const ModelMetadata& metadata, const ModelConfig& config) {
  const AttentionShape& shape = config.attention;
  const int usual = config.layers == kLayersOf27B ? config.hidden / shape.heads : shape.head_dim;
  return 1.0f / std::sqrt(metadata.real_or("attention.query_pre_attn_scalar", static_cast<float>(usual), 1e-3, 1e6));
}

ModelConfig read_config(const Checkpoint& checkpoint) {
  const ModelMetadata metadata(checkpoint);
  ModelConfig config = read_decoder_config(checkpoint, {.rope_base = kGlobalBase, .window_pattern = kWindowPattern});
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden));
  config.gate = GateActivation::kGelu;
  config.qk_norm = true;
  config.post_norms = true;
  config.attention_options.scale = config.local_attention_options.scale = attention_scale(metadata, config);
  config.local_rope.base = metadata.real_or("rope.freq_base_swa", kLocalBase, 1.0, 1e12);
  config.local_rope.frequency_scale.clear();
  config.local_rope.magnitude = 1.0f;
  return config;
}

}  // namespace

const Architecture kGemma3{.name = "gemma3", .read_config = read_config, .load = load_decoder};

}  // namespace carronade
