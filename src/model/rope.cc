#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "model/metadata.h"

namespace carronade {
namespace {

Rope::Pairing read_pairing(const Checkpoint& checkpoint, Rope::Pairing pairing) {
  const std::optional<std::string> name = checkpoint.string("carronade.rope.pairing");
  if (!name) return pairing;
  if (*name == "halves") return Rope::Pairing::kHalves;
  if (*name == "neighbours") return Rope::Pairing::kNeighbours;
  throw_error(ErrorCode::kCorruptFile, "{}: carronade.rope.pairing is \"{}\", which is neither halves nor neighbours",
              checkpoint.path().string(), *name);
}

// Source: YaRN (Peng et al. 2023), section 3. Pairs that turn often within the original context (more than beta_fast
// times) keep their frequency, those that turn less than beta_slow times are stretched by the factor, between them is a
// ramp. Everything grows by a magnitude that makes up for the softer attention over a longer context.
struct Yarn {
  double factor;
  double original;  // positions
  double extrapolation, beta_fast, beta_slow;

  // The (fractional) pair that turns `turns` times within the original context.
  double pair_of(double turns, const Rope& rope) const {
    return rope.dimensions * std::log(original / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(static_cast<double>(rope.base)));
  }
  double magnitude(double multiplier) const { return factor <= 1 ? 1.0 : 0.1 * multiplier * std::log(factor) + 1.0; }

  std::vector<double> scale(const Rope& rope, bool whole_pairs) const {
    double low = pair_of(beta_fast, rope), high = pair_of(beta_slow, rope);
    if (whole_pairs) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, rope.dimensions - 1.0);
    const double width = std::max(high - low, 0.001);
    std::vector<double> scale;
    for (int i = 0; i < rope.dimensions / 2; ++i) {
      const double kept = (1.0 - std::clamp((i - low) / width, 0.0, 1.0)) * extrapolation;
      scale.push_back((1.0 - kept) / factor + kept);
    }
    return scale;
  }
};

std::vector<double> read_yarn(const Checkpoint& checkpoint, const ModelMetadata& metadata, int context_length,
                              Rope& rope) {
  const Yarn yarn{
      .factor = static_cast<double>(metadata.real("rope.scaling.factor", 1e-3, 1e6)),
      .original =
          static_cast<double>(metadata.integer_or("rope.scaling.original_context_length", context_length, 1, 1 << 28)),
      .extrapolation = static_cast<double>(metadata.real_or("rope.scaling.yarn_ext_factor", 1.0f, 0.0, 1.0)),
      .beta_fast = static_cast<double>(metadata.real_or("rope.scaling.yarn_beta_fast", 32.0f, 1e-3, 1e6)),
      .beta_slow = static_cast<double>(metadata.real_or("rope.scaling.yarn_beta_slow", 1.0f, 1e-3, 1e6)),
  };
  const double all_dimensions = static_cast<double>(metadata.real_or("rope.scaling.yarn_log_multiplier", 0.0f, 0, 1e3));
  const double own = yarn.magnitude(1.0) / yarn.magnitude(all_dimensions);
  const double given =
      static_cast<double>(metadata.real_or("rope.scaling.yarn_attn_factor", static_cast<float>(own), 1e-3, 1e3));
  rope.magnitude =
      static_cast<float>(given * static_cast<double>(metadata.real_or("rope.scaling.attn_factor", 1.0f, 1e-3, 1e3)));
  return yarn.scale(rope, checkpoint.boolean("carronade.rope.yarn_truncate").value_or(true));
}

// llama3's scaling as GGUF files hold it: divisors of the frequencies.
void divide_by_factors(const TensorView& factors, const Checkpoint& checkpoint, std::vector<double>& scale) {
  const auto pairs = static_cast<int64_t>(scale.size());
  if (factors.rows() != 1 || factors.columns() != pairs || factors.dtype != DType::kF32) {
    throw_error(ErrorCode::kCorruptFile, "{}: rope_freqs.weight should be {} numbers of F32",
                checkpoint.path().string(), pairs);
  }
  std::vector<float> values(scale.size());
  dequantize(factors.dtype, factors.bytes.data(), values.data(), pairs);
  for (size_t i = 0; i < values.size(); ++i) {
    if (!(values[i] > 0.0f) || !std::isfinite(values[i])) {
      throw_error(ErrorCode::kCorruptFile, "{}: rope_freqs.weight holds {}", checkpoint.path().string(), values[i]);
    }
    scale[i] /= static_cast<double>(values[i]);
  }
}

// The type may be left out, and the factor may stand under its oldest name.
std::string scaling_type(const Checkpoint& checkpoint, const ModelMetadata& metadata) {
  const std::string prefix = checkpoint.architecture() + ".rope.";
  const bool factor = checkpoint.real(prefix + "scaling.factor") || checkpoint.real(prefix + "scale_linear");
  return metadata.string_or("rope.scaling.type", factor ? "linear" : "none");
}

}  // namespace

Rope read_rope(const Checkpoint& checkpoint, int head_dim, int context_length, Rope::Pairing pairing, float base) {
  const ModelMetadata metadata(checkpoint);
  Rope rope;
  rope.pairing = read_pairing(checkpoint, pairing);
  rope.dimensions = metadata.integer_or("rope.dimension_count", head_dim, 0, head_dim);
  if (rope.dimensions % 2 != 0) {
    throw_error(ErrorCode::kCorruptFile, "{}: rope.dimension_count is {}, which is odd", checkpoint.path().string(),
                rope.dimensions);
  }
  rope.base = metadata.real_or("rope.freq_base", base, 1.0, 1e12);

  std::vector<double> scale(static_cast<size_t>(rope.dimensions / 2), 1.0);
  const std::string type = scaling_type(checkpoint, metadata);
  if (type == "linear") {
    const float oldest = metadata.real_or("rope.scale_linear", 1.0f, 1e-3, 1e6);
    const float factor = metadata.real_or("rope.scaling.factor", oldest, 1e-3, 1e6);
    std::fill(scale.begin(), scale.end(), 1.0 / static_cast<double>(factor));
  } else if (type == "yarn") {
    if (rope.base <= 1.0f) {
      throw_error(ErrorCode::kCorruptFile, "{}: yarn needs a rope.freq_base above 1", checkpoint.path().string());
    }
    scale = read_yarn(checkpoint, metadata, context_length, rope);
  } else if (type != "none") {
    throw_error(ErrorCode::kUnsupported, "{}: rope scaling \"{}\" is not supported (none, linear, yarn and llama3 are)",
                checkpoint.path().string(), type);
  }
  if (const TensorView* factors = checkpoint.find("rope_freqs.weight")) {
    divide_by_factors(*factors, checkpoint, scale);
  }
  if (std::any_of(scale.begin(), scale.end(), [](double value) { return value != 1.0; })) {
    rope.frequency_scale.assign(scale.begin(), scale.end());
  }
  return rope;
}

}  // namespace carronade
