#include "model/loader.h"

#include <array>
#include <vector>

#include "base/error.h"

namespace carronade {

Loader::Loader(const Checkpoint& checkpoint, Backend& backend, bool norm_plus_one, const LoadProgress& progress)
    : checkpoint_(checkpoint), backend_(backend), norm_plus_one_(norm_plus_one), progress_(progress) {
  for (const TensorView& tensor : checkpoint.tensors()) total_ += tensor.bytes.size();
}

WeightHandle Loader::matrix(const std::string& name, int64_t rows, int64_t columns, WeightUse use) {
  return load(checkpoint_.require(name, std::array{rows, columns}), use);
}

WeightHandle Loader::vector(const std::string& name, int64_t n) {
  return load(checkpoint_.require(name, std::array{n}), WeightUse::kVector);
}

WeightHandle Loader::vector_if_any(const std::string& name, int64_t n) {
  return checkpoint_.find(name) ? vector(name, n) : nullptr;
}

WeightHandle Loader::norm(const std::string& name, int64_t n) {
  if (!norm_plus_one_) return vector(name, n);
  const TensorView& tensor = checkpoint_.require(name, std::array{n});
  std::vector<float> values(static_cast<size_t>(n));
  dequantize(tensor.dtype, tensor.bytes.data(), values.data(), n);
  for (float& value : values) value += 1.0f;
  WeightHandle weight =
      backend_.load_weight({name, DType::kF32, 1, n, std::as_bytes(std::span(values))}, WeightUse::kVector);
  count(tensor);
  return weight;
}

WeightHandle Loader::load(const TensorView& tensor, WeightUse use) {
  WeightHandle weight =
      backend_.load_weight({tensor.name, tensor.dtype, tensor.rows(), tensor.columns(), tensor.bytes}, use);
  if (tensor.file) tensor.file->drop_pages(tensor.bytes);
  count(tensor);
  return weight;
}

void Loader::count(const TensorView& tensor) {
  used_.insert(tensor.name);
  done_ += tensor.bytes.size();
  if (progress_) progress_(done_, total_);
}

void Loader::finish() const {
  for (const TensorView& tensor : checkpoint_.tensors()) {
    if (!tensor.name.starts_with("blk.") || used_.contains(tensor.name)) continue;
    throw_error(ErrorCode::kUnsupported, "{}: the tensor {} has no place in the architecture {} as it is supported",
                checkpoint_.path().string(), tensor.name, checkpoint_.architecture());
  }
  if (progress_) progress_(total_, total_);
}

}  // namespace carronade
