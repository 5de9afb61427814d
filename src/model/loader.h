// Tensors from a checkpoint into a backend.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "model/model.h"

namespace carronade {

// Copies tensors into the backend, drops the file's pages behind it and counts the bytes. All names are GGUF's. A
// tensor that is missing or misshapen is an Error{kCorruptFile} that names it.
class Loader {
 public:
  // Norms' weights get the 1 that they lack when `norm_plus_one`.
  Loader(const Checkpoint& checkpoint, Backend& backend, bool norm_plus_one, const LoadProgress& progress);

  WeightHandle matrix(const std::string& name, int64_t rows, int64_t columns, WeightUse use = WeightUse::kLinear);
  WeightHandle vector(const std::string& name, int64_t n);
  WeightHandle vector_if_any(const std::string& name, int64_t n);  // nullptr when the file has none
  WeightHandle norm(const std::string& name, int64_t n);

  // Reports that all is done. Throws Error{kUnsupported} when a layer ("blk.…") has a tensor that nobody asked for.
  void finish() const;

 private:
  WeightHandle load(const TensorView& tensor, WeightUse use);
  void count(const TensorView& tensor);

  const Checkpoint& checkpoint_;
  Backend& backend_;
  bool norm_plus_one_;
  const LoadProgress& progress_;
  std::set<std::string_view> used_;
  uint64_t done_ = 0, total_ = 0;
};

}  // namespace carronade
