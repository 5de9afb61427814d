// Low-rank adapters into a loaded model.
#include <array>
#include <vector>

#include "base/error.h"
#include "model/model.h"

namespace carronade {
namespace {

// GGUF's llama files hold the rows of q and k so that those which rotate together are neighbours: of a head's n rows in
// the published order, i and i + n / 2 become 2 i and 2 i + 1.
std::vector<float> interleave_halves(const std::vector<float>& rows, int64_t columns, int head_dim) {
  std::vector<float> out(rows.size());
  const int64_t count = static_cast<int64_t>(rows.size()) / columns, half = head_dim / 2;
  for (int64_t row = 0; row < count; ++row) {
    const int64_t head = row / head_dim, within = row % head_dim;
    const int64_t target = head * head_dim + (within < half ? 2 * within : 2 * (within - half) + 1);
    std::copy_n(rows.begin() + row * columns, columns, out.begin() + target * columns);
  }
  return out;
}

WeightSource source_of(const TensorView& tensor, const std::vector<float>& values) {
  return {tensor.name, DType::kF32, tensor.rows(), tensor.columns(), std::as_bytes(std::span(values))};
}

std::vector<float> values_of(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.rows() * tensor.columns()));
  dequantize(tensor.dtype, tensor.bytes.data(), values.data(), tensor.rows() * tensor.columns());
  return values;
}

}  // namespace

void Model::load_adapter(int adapter, const AdapterFile& file) {
  const bool permute = file.has_published_rows() && config().rope.pairing == Rope::Pairing::kNeighbours;
  for (const AdapterPart& part : file.parts()) {
    const Weight* weight = adapted_weight(part.target);
    if (!weight) {
      throw_error(ErrorCode::kUnsupported, "{}: adapts {}, which this model has not or cannot adapt",
                  file.path().string(), part.target);
    }
    if (part.a.columns() != weight->columns() || part.b.rows() != weight->rows()) {
      throw_error(ErrorCode::kUnsupported,
                  "{}: its matrices for {} fit a weight of {} x {}, and this model's has {} x {}", file.path().string(),
                  part.target, part.b.rows(), part.a.columns(), weight->rows(), weight->columns());
    }
    const std::vector<float> a = values_of(part.a);
    std::vector<float> b = values_of(part.b);
    if (permute && (part.target.ends_with("attn_q.weight") || part.target.ends_with("attn_k.weight")))
      b = interleave_halves(b, part.b.columns(), config().attention.head_dim);
    backend_.load_adapter(adapter, *weight, source_of(part.a, a), source_of(part.b, b), part.scale);
  }
}

}  // namespace carronade
