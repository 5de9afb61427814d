// The backend for processors: packed weights (layout.h), activations as int8, BF16 or float, one thread team, one
// kernel table for the ISA chosen at start. Ops run at once, in call order; wait() has nothing to wait for.
#pragma once

#include <atomic>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/objects.h"
#include "backend/cpu/thread_team.h"

namespace carronade::cpu {

// What becomes of the 16 outputs of a panel for `columns` rows of the batch from `first` on: y is [columns][16].
struct PanelOutput {
  int64_t panel;
  int first, columns;
  const float* y;
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(const BackendOptions& options, const Kernels& kernels);
  ~CpuBackend() override;

  const DeviceInfo& device() const override { return device_; }
  uint64_t memory_in_use() const override { return memory_in_use_; }

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
  void wait() override {}
  int32_t argmax(int output) override;
  void top_k(int output, int k, std::vector<Candidate>& out) override;
  std::span<const float> read_logits(int output) override;
  std::span<const float> read_pooled(int sequence) override;
  void copy_blocks(std::span<const BlockCopy> copies) override;
  void read_blocks(std::span<const BlockId> blocks, std::span<std::byte> out) override;
  void write_blocks(std::span<const BlockId> blocks, std::span<const std::byte> in) override;

 private:
  // One query row's rotation, cos and sin of each pair, for the step's rows.
  struct RopeTable {
    Rope rope;
    std::vector<float> cos, sin;  // [rows, dimensions / 2]
    int first_still = 0;          // pairs from here on hardly turn
  };
  struct Adapter {
    WeightHandle a, b;  // packed as float
    float scale;
  };
  // A layer's new queries, keys and values, and what becomes of them once they are projected.
  struct NewHeads {
    const AttentionShape& shape;
    const Rope& rope;
    const RopeTable* turns;        // nullptr: nothing turns
    const float *q_norm, *k_norm;  // [head_dim], nullptr: none
    float norm_epsilon;
    const float* key_bias;  // [kv_heads * head_dim], to be taken off again; nullptr: none
    int layer;
    float* q;  // [rows, heads * head_dim]
    int64_t q_stride;
    float* kv;  // [rows, 2 kv_heads * head_dim]: keys, then values
    int64_t kv_stride;

    // Of all heads one after another: the queries', the keys', the values'.
    int64_t stride(int head) const { return head < shape.heads ? q_stride : kv_stride; }
    float* row(int head, int r) const {
      const int64_t at = int64_t{head < shape.heads ? head : head - shape.heads} * shape.head_dim;
      return (head < shape.heads ? q : kv) + r * stride(head) + at;
    }
  };
  // Rows × one KV head: what one worker attends to at a time.
  struct AttentionTask {
    const SequenceRows* sequence;
    int first_row, rows, kv_head;
    int first_split, splits;  // of the context, the same for every row that shares the positions
    int64_t partial;          // where its partials lie in partials_, when splits run apart
  };

  // cpu_backend.cc
  int rows() const { return batch_->rows(); }
  void prepare_operand(CpuActivation& out);
  void round_row(const float* x, CpuActivation& out, int64_t r, int worker);
  void write_operand(const float* x, int64_t n, CpuActivation& out, int64_t r, int64_t group = 0);

  WeightHandle hold_weight(const WeightSource& source, WeightUse use);  // as it comes
  WeightHandle load_converted(const WeightSource& source, DType dtype, WeightUse use);

  // cpu_linear.cc
  bool runs_on_int8(const CpuWeight& weight) const { return is_integer(weight.layout) && !float_activations_; }
  bool runs_on_bfloat(const CpuWeight& weight) const {
    return weight.layout == Layout::kBF16 && kernels_.matmul_bfloat && !float_activations_;
  }
  // `unpacked`: the worker's last call was for this panel too, so that its floats are still there.
  void compute_panel(const CpuWeight& weight, int64_t panel, const CpuActivation& in, int first, int columns,
                     int worker, bool unpacked, float* y);
  template <typename Finish>
  void multiply(std::span<const CpuWeight* const> weights, const CpuActivation& in, int rows, Finish&& finish);
  void multiply_into(const CpuWeight& weight, const CpuActivation& in, int rows, const float* bias, bool accumulate,
                     float* out, int64_t stride);
  std::atomic<int>* counters(int64_t count);
  void project_qkv(const CpuActivation& in, const QkvWeights& weights, const NewHeads& heads);
  bool batch_adapts(const Weight& weight) const;
  void add_adapters(const Weight& weight, const CpuActivation& in, float* out, int64_t stride);
  void add_adapter(const Adapter& adapter, const CpuActivation& in, int first, int count, int out_first, float* out,
                   int64_t stride);
  void add_logit_adapters(const Weight& head);
  void gated_mlp_apart(const CpuActivation& in, const CpuWeight& gate, const CpuWeight& up, GateActivation activation,
                       CpuActivation& out);

  // cpu_attention.cc
  const RopeTable& rope_table(const Rope& rope);
  void finish_head(const NewHeads& new_heads, int head, int first, int rows);
  void store_key(const float* k, std::byte* keys, int slot);
  void store_value(const float* v, std::byte* values, int slot);
  std::byte* kv_piece(BlockId block, int layer, int head, int which) const;
  void plan_attention(const AttentionShape& shape, const AttentionOptions& options);
  void attend(const AttentionTask& task, const CpuActivation& q, const AttentionShape& shape,
              const AttentionOptions& options, int layer, int first_split, int splits, const AttentionPartial& total,
              bool merge, int worker);
  void finish_attention(const AttentionTask& task, const AttentionShape& shape, const AttentionPartial& total,
                        CpuActivation& out);

  // Floats from row to row of a chunk: not a power of two, whose rows would share a few lines of the first cache.
  static constexpr int64_t kMadeStride = kChunkSteps * kStepColumns + kPanelRows;

  DeviceInfo device_;
  const Kernels& kernels_;
  uint64_t memory_in_use_ = 0;
  bool float_activations_;
  std::optional<DType> float_weights_;
  OperandForms wanted_;  // by some loaded weight or adapter
  Arena arena_;
  ThreadTeam team_;

  int max_rows_ = 0, max_outputs_ = 0, vocabulary_ = 0;
  const Batch* batch_ = nullptr;  // of the running step
  Batch outputs_;                 // its output rows, once they are all that is left

  KvLayout kv_layout_;
  KvFormat kv_format_ = KvFormat::kF16;
  size_t block_bytes_ = 0, piece_bytes_ = 0;
  HugeMemory kv_;
  Account kv_account_;

  std::map<std::pair<int, const Weight*>, Adapter> adapters_;

  // Scratch of a step.
  Buffer<float> panels_;       // [threads][widest K][16]: an integer panel as floats (float activations)
  Buffer<float> keys_values_;  // [rows, 2 kv_heads * head_dim]
  Buffer<float> gates_, ups_;  // [rows, ffn], with adapters or without a gate only
  Buffer<float> made_;         // [tiles * chunks, or threads][tile][kMadeStride]: of a gated MLP, not yet rounded
  Buffer<float> low_rank_;     // [rows, rank]
  Buffer<float> logits_;       // [outputs, vocabulary rounded up]
  Buffer<float> pooled_;       // [sequences, hidden]
  Buffer<float> partials_;
  Buffer<float> attended_;                     // [threads][…]: partial and total of one task
  std::unique_ptr<CpuActivation> normalized_;  // rows that want logits
  std::vector<std::atomic<int>> counters_;     // of parts of something that the last one's worker goes on with
  int64_t logits_stride_ = 0;
  int pooled_columns_ = 0;
  std::vector<RopeTable> ropes_;
  size_t ropes_in_use_ = 0;
  bool keys_are_shifted_ = false;  // Q8_0: by their biases
  std::vector<AttentionTask> tasks_;
  size_t attended_each_ = 0;                               // floats of attended_ a worker
  std::vector<std::vector<const float*>> query_pointers_;  // a worker's, of the task it attends to
  std::vector<std::vector<int64_t>> query_bounds_;
  std::vector<std::vector<float>> rows_scratch_;   // a worker's, one row
  std::vector<std::vector<float>> rests_scratch_;  // likewise
  std::vector<int32_t> found_;
};

}  // namespace carronade::cpu
