// The float oracle: the textbook's formulas in scalar code, sums in double, so that every other backend can be held
// against it. Rows are computed one by one, each from its own sequence alone.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/reference/guarded_memory.h"

namespace carronade::reference {

// A weight as its file had it; rows are de-quantized where they are used.
struct ReferenceWeight final : Weight {
  ReferenceWeight(int64_t rows, int64_t columns, DType dtype, GuardedMemory memory)
      : Weight(rows, columns), dtype(dtype), memory(std::move(memory)) {}
  DType dtype;
  GuardedMemory memory;
};

// [max_rows, columns] float; made when first written.
struct ReferenceActivation final : Activation {
  explicit ReferenceActivation(int columns) : Activation(columns) {}
  float* row(int r) const { return memory.floats() + static_cast<size_t>(r) * static_cast<size_t>(columns_); }
  GuardedMemory memory;
};

class ReferenceBackend final : public Backend {
 public:
  const DeviceInfo& device() const override { return device_; }
  uint64_t memory_in_use() const override { return bytes_in_use_; }

  WeightHandle load_weight(const WeightSource& source, WeightUse use) override;
  ActivationHandle make_activation(int columns, ActivationUse use) override;
  void reserve(int max_rows, int max_outputs, int vocabulary) override;
  void allocate_kv(const KvLayout& layout, int blocks) override;
  void load_adapter(int adapter, const Weight& target, const WeightSource& a, const WeightSource& b,
                    float scale) override;
  void drop_adapter(int adapter) override;

  void begin_step(const Batch& batch) override;
  void embed(const Weight& table, float scale, Activation& x) override;
  void add_positions(const Weight& table, Activation& x) override;
  void rms_norm(const Activation& x, const Weight& weight, float epsilon, bool accumulate, Activation& out) override;
  void layer_norm(Activation& x, const Weight& weight, const Weight& bias, float epsilon, Activation& out) override;
  void linear(const Activation& in, const Weight& weight, const Weight* bias, bool accumulate,
              Activation& out) override;
  void qkv_rope_store(const Activation& in, const QkvWeights& weights, const AttentionShape& shape, const Rope& rope,
                      int layer, Activation& q) override;
  void keep_output_rows(Activation& x, Activation& q) override;
  void paged_attention(const Activation& q, const AttentionShape& shape, const AttentionOptions& options, int layer,
                       Activation& out) override;
  void gated_mlp(const Activation& in, const Weight& gate, const Weight& up, GateActivation activation,
                 Activation& out) override;
  void mlp(const Activation& in, const Weight& up, const Weight* bias, Activation& out) override;
  void logits(const Activation& x, const Weight& norm, float epsilon, const Weight& head, float soft_cap) override;
  void pooled(const Activation& x, const Weight* norm, float epsilon, Pooling pooling) override;
  void apply_mask(int output, std::span<const uint32_t> mask) override;
  void wait() override {}  // every op runs at once

  int32_t argmax(int output) override;
  void top_k(int output, int k, std::vector<Candidate>& out) override;
  std::span<const float> read_logits(int output) override;
  std::span<const float> read_pooled(int sequence) override;

  void copy_blocks(std::span<const BlockCopy> copies) override;
  void read_blocks(std::span<const BlockId> blocks, std::span<std::byte> out) override;
  void write_blocks(std::span<const BlockId> blocks, std::span<const std::byte> in) override;

 private:
  struct Adapter {
    WeightHandle a, b;
    float scale;
  };
  enum class Part { kKeys = 0, kValues = 1 };

  ReferenceActivation& prepare(Activation& activation);
  // y[i] = W in[i] (+ the adapter of batch row rows[i]) for each i.                     in: [rows.size(), columns],
  // result: [rows.size(), rows of W]
  std::vector<float> multiply(const float* in, std::span<const int> rows, const Weight& weight) const;
  void add_adapter(const Adapter& adapter, const float* in, float* out) const;
  std::vector<float> vector_of(const Weight& weight) const;
  // KV of one position and head in a layer, in the cache's dtype.
  std::byte* kv_row(std::span<const BlockId> table, int position, int layer, Part part, int head) const;
  const SequenceRows& sequence_of(int row) const {
    return batch_->sequences[static_cast<size_t>(row_sequence_[static_cast<size_t>(row)])];
  }

  DeviceInfo device_{"reference", "scalar", 1};
  uint64_t bytes_in_use_ = 0;
  int max_rows_ = 0, max_outputs_ = 0, vocabulary_ = 0;
  KvLayout kv_;
  int blocks_ = 0;
  GuardedMemory kv_memory_;      // [blocks][layers][keys | values][kv_heads][16][row bytes]
  GuardedMemory logits_memory_;  // [max_outputs, vocabulary]
  GuardedMemory pooled_memory_;  // [sequences, hidden]
  int pooled_columns_ = 0;
  std::map<int, std::vector<float>> logits_copies_, pooled_copies_;  // what the readers hand out: host memory
  std::map<std::pair<int, const Weight*>, Adapter> adapters_;

  const Batch* batch_ = nullptr;   // of the running step
  Batch outputs_;                  // its output rows, once they are all that is left
  std::vector<int> rows_;          // 0 … rows - 1
  std::vector<int> row_sequence_;  // index into batch_->sequences
};

}  // namespace carronade::reference
