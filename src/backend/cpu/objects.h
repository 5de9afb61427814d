// What handles of the CPU backend point to.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/layout.h"
#include "backend/cpu/memory.h"

namespace carronade::cpu {

// Adds bytes to the backend's account for as long as it lives.
class Account {
 public:
  Account() = default;
  explicit Account(uint64_t& total) : total_(&total) {}
  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;
  Account(Account&& other) noexcept
      : total_(std::exchange(other.total_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Account& operator=(Account&& other) noexcept {
    std::swap(total_, other.total_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Account() { set(0); }

  void set(uint64_t bytes) {
    if (total_) *total_ += bytes - bytes_;
    bytes_ = bytes;
  }

 private:
  uint64_t* total_ = nullptr;
  uint64_t bytes_ = 0;
};

// An array that only ever grows, 64-byte aligned. Growing forgets what it held; fresh elements are zero.
template <typename T>
class Buffer {
 public:
  explicit Buffer(uint64_t& total) : account_(total) {}

  T* ensure(size_t count) {
    if (count > count_) {
      memory_ = HugeMemory();
      memory_ = HugeMemory(count * sizeof(T));
      count_ = count;
      account_.set(count * sizeof(T));
    }
    return data();
  }
  T* data() const { return reinterpret_cast<T*>(memory_.data()); }
  size_t size() const { return count_; }

 private:
  HugeMemory memory_;
  size_t count_ = 0;
  Account account_;
};

inline int64_t whole_groups(int64_t columns) { return (columns + kStepColumns - 1) / kStepColumns * kStepColumns; }

// From row to row of activations of `bytes` a column, in columns. Rows a multiple of 4096 bytes apart share the few
// lines of one set of the first cache: a kernel that reads four of them at once takes twice its time (Zen 3).
inline int64_t row_stride(int64_t columns, int bytes = 1) {
  const int64_t extent = whole_groups(columns);
  return extent * bytes % 4096 == 0 ? extent + 4 * kStepColumns : extent;
}

class CpuWeight : public Weight {
 public:
  CpuWeight(int64_t rows, int64_t columns, WeightUse use, DType dtype, uint64_t& total)
      : Weight(rows, columns), use(use), dtype(dtype), account(total) {}

  int64_t panels() const { return (rows_ + kPanelRows - 1) / kPanelRows; }
  const std::byte* panel(int64_t p) const { return memory.data + static_cast<size_t>(p) * panel_size; }
  const float* vector() const { return reinterpret_cast<const float*>(memory.data); }

  WeightUse use;
  DType dtype;
  Layout layout = Layout::kF32;  // kLinear, kTied
  size_t panel_size = 0;
  Piece memory;  // panels; raw rows of the file (kEmbedding); floats (kVector)
  Account account;
};

// The forms in which weights read their operands.
struct OperandForms {
  bool floats = false, int8 = false, bfloat = false;
};

// The memory of QuantizedRows.
class QuantizedBuffers {
 public:
  explicit QuantizedBuffers(uint64_t& total)
      : q_(total),
        scale_(total),
        sum_(total),
        unit_(total),
        pair_sum_(total),
        factor_(total),
        factor_sum_(total),
        half_sum_(total),
        half_offset_(total) {}

  void ensure(size_t columns) {  // of all rows
    q_.ensure(columns);
    for (Buffer<float>* each : {&scale_, &sum_, &unit_}) each->ensure(columns / 32);
    for (Buffer<int16_t>* each : {&factor_, &factor_sum_}) each->ensure(columns / 32);
    for (Buffer<int32_t>* each : {&half_sum_, &half_offset_}) each->ensure(columns / 16);
    pair_sum_.ensure(columns / 8);
  }
  QuantizedRows view(int64_t k, int64_t stride) const {
    return {.q = q_.data(),
            .scale = scale_.data(),
            .sum = sum_.data(),
            .pair_sum = pair_sum_.data(),
            .half_sum = half_sum_.data(),
            .half_offset = half_offset_.data(),
            .unit = unit_.data(),
            .factor = factor_.data(),
            .factor_sum = factor_sum_.data(),
            .k = k,
            .stride = stride};
  }

 private:
  Buffer<int8_t> q_;
  Buffer<float> scale_, sum_, unit_;
  Buffer<int16_t> pair_sum_, factor_, factor_sum_;
  Buffer<int32_t> half_sum_, half_offset_;
};

// Rows of float, of int8 (QuantizedRows), of pairs of BF16, or of several of these. A row that int8 alone would spoil
// is split: what its rounding left over is rounded again, as a second row.
class CpuActivation : public Activation {
 public:
  CpuActivation(int columns, ActivationUse use, uint64_t& total)
      : Activation(columns),
        use(use),
        stride(row_stride(columns)),
        floats(total),
        int8(total),
        pairs(total),
        rests_(total) {}

  // Room for `rows`, in the forms wanted.
  void prepare(int rows, OperandForms forms) {
    const auto n = static_cast<size_t>(rows) * static_cast<size_t>(stride);
    if (forms.floats) floats.ensure(n);
    if (forms.bfloat) pairs.ensure(static_cast<size_t>(rows) * static_cast<size_t>(pair_stride()));
    if (forms.int8) int8.ensure(n);
  }
  float* row(int64_t r) const { return floats.data() + r * stride; }
  uint32_t* pair_row(int64_t r) const { return pairs.data() + r * pair_stride(); }
  int64_t pair_stride() const { return row_stride(columns(), 2) / 2; }
  QuantizedRows quantized() const { return int8.view(whole_groups(columns()), stride); }

  // Before rows are written that may be split.
  void prepare_rests(int rows) {
    rests_.ensure(static_cast<size_t>(rows) * static_cast<size_t>(stride));
    is_split.assign(static_cast<size_t>(rows), 0);
  }
  QuantizedRows rests() const { return rests_.view(whole_groups(columns()), stride); }

  ActivationUse use;
  int64_t stride;  // from row to row: row_stride(columns)
  Buffer<float> floats;
  QuantizedBuffers int8;
  Buffer<uint32_t> pairs;
  std::vector<uint8_t> is_split;  // [rows]; empty where none can be

 private:
  QuantizedBuffers rests_;
};

inline const CpuWeight& cast(const Weight& weight) { return static_cast<const CpuWeight&>(weight); }
inline const CpuActivation& cast(const Activation& activation) { return static_cast<const CpuActivation&>(activation); }
inline CpuActivation& cast(Activation& activation) { return static_cast<CpuActivation&>(activation); }

}  // namespace carronade::cpu
