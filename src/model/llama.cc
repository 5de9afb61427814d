// Llama 1 to 3.3 and its kin (SmolLM2, TinyLlama, Mistral's first). Source: LLaMA (Touvron et al. 2023), section 2.2.
// GGUF files hold q and k permuted, so that rotation takes neighbours. Llama 3.1's stretched rotation comes as the
// tensor rope_freqs.weight.
#include "base/error.h"
#include "model/decoder.h"

namespace carronade {
namespace {

// [dimensions / 2] divisors of the pairs' frequencies.
std::vector<float> read_frequency_scale(const Checkpoint& checkpoint, int pairs) {
  const TensorView* factors = checkpoint.find("rope_freqs.weight");
  if (!factors) return {};
  if (factors->rows() != 1 || factors->columns() != pairs || factors->dtype != DType::kF32) {
    throw_error(ErrorCode::kCorruptFile, "{}: rope_freqs.weight should be {} numbers of F32",
                checkpoint.path().string(), pairs);
  }
  std::vector<float> scale(static_cast<size_t>(pairs));
  dequantize(factors->dtype, factors->bytes.data(), scale.data(), pairs);
  for (float& value : scale) {
    if (!(value > 0.0f))
      throw_error(ErrorCode::kCorruptFile, "{}: rope_freqs.weight holds {}", checkpoint.path().string(), value);
    value = 1.0f / value;
  }
  return scale;
}

ModelConfig read_config(const Checkpoint& checkpoint) {
  ModelConfig config = read_decoder_config(checkpoint, Rope::Pairing::kNeighbours);
  std::vector<float> scale = read_frequency_scale(checkpoint, config.rope.dimensions / 2);
  if (!scale.empty()) config.rope.frequency_scale = std::move(scale);
  return config;
}

}  // namespace

const Architecture kLlama{.name = "llama", .read_config = read_config};

}  // namespace carronade
