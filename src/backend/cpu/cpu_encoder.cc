// What encoders (bert) need beside the decoder's ops: learned positions, layer norm, an MLP without a gate.
#include <algorithm>
#include <cassert>

#include "backend/cpu/cpu_backend.h"

namespace carronade::cpu {

void CpuBackend::add_positions(const Weight& table, Activation& x) {
  const CpuWeight& weight = cast(table);
  CpuActivation& out = cast(x);
  assert(weight.use == WeightUse::kEmbedding && table.columns() == x.columns());
  const size_t bytes = row_bytes(weight.dtype, weight.columns());
  const auto n = static_cast<size_t>(weight.columns());
  rows_scratch_.resize(static_cast<size_t>(team_.threads()));
  team_.run(rows(), 1, [&](int64_t begin, int64_t end, int worker) {
    std::vector<float>& learned = rows_scratch_[static_cast<size_t>(worker)];
    if (learned.size() < n) learned.resize(n);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t position = batch_->positions[static_cast<size_t>(r)];
      assert(position >= 0 && position < weight.rows());
      dequantize(weight.dtype, weight.memory.data + static_cast<size_t>(position) * bytes, learned.data(),
                 weight.columns());
      for (size_t i = 0; i < n; ++i) out.row(r)[i] += learned[i];
    }
  });
}

void CpuBackend::layer_norm(Activation& x, const Weight& weight, const Weight& bias, float epsilon, Activation& out) {
  CpuActivation& residual = cast(x);
  CpuActivation& result = cast(out);
  assert(residual.use == ActivationUse::kResidual && x.columns() == out.columns());
  assert(weight.columns() == x.columns() && bias.columns() == x.columns());
  prepare_operand(result);
  const int n = x.columns();
  team_.run(rows(), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      float* row = residual.row(r);
      kernels_.layer_norm_row(row, cast(weight).vector(), cast(bias).vector(), epsilon, n);
      write_operand(row, n, result, r);
    }
  });
}

// In two passes: bias and adapters come between the product and the activation.
void CpuBackend::mlp(const Activation& in, const Weight& up, const Weight* bias, Activation& out) {
  CpuActivation& result = cast(out);
  assert(up.rows() == out.columns() && up.columns() == in.columns());
  prepare_operand(result);
  const int64_t stride = result.stride;
  float* ups = ups_.ensure(static_cast<size_t>(max_rows_) * static_cast<size_t>(stride));
  multiply_into(cast(up), cast(in), rows(), bias ? cast(*bias).vector() : nullptr, false, ups, stride);
  add_adapters(up, cast(in), ups, stride);
  const int n = out.columns();
  team_.run(rows(), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      float* row = ups + r * stride;
      kernels_.gelu_row(row, n);
      write_operand(row, n, result, r);
    }
  });
}

}  // namespace carronade::cpu
