// What a device must offer so that model/ can be written once: some fifteen fused ops over memory that only the backend
// touches.
//
// Rooms above hold handles. Ops are enqueued in call order between begin_step() and wait(), which is a step's one point
// of waiting; a backend may run an op at once, or record a step and replay it. Everything here is called by one thread,
// the engine's.
//
// Same answer whatever the load (CPU: always): what an op computes for a row depends on that row and its sequence's KV
// alone, bit for bit, never on how many rows stand beside it, in which chunks they came, or how many threads ran. So: a
// fixed order over K, a fixed split of long contexts, and keys and values of the running chunk are read back in the
// cache's precision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/batch.h"
#include "tensor/dtype.h"

namespace carronade {

// A matrix as its file holds it, row-major [rows, columns] in dtype's blocks. Only read during load_weight().
struct WeightSource {
  std::string_view name;  // for error messages
  DType dtype;
  int64_t rows;     // outputs
  int64_t columns;  // inputs
  std::span<const std::byte> bytes;
};

// What a weight will be used for decides its layout.
enum class WeightUse {
  kLinear,     // [outputs, inputs], multiplied
  kEmbedding,  // [vocabulary, hidden], rows looked up
  kTied,       // both: an embedding table that is also the output matrix
  kVector,     // [1, n] biases and norms, kept as float
};

// A loaded weight, in the backend's own layout and memory. Immutable; must not outlive its backend.
class Weight {
 public:
  virtual ~Weight() = default;
  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }

 protected:
  Weight(int64_t rows, int64_t columns) : rows_(rows), columns_(columns) {}
  int64_t rows_, columns_;
};
using WeightHandle = std::unique_ptr<const Weight>;

// What an activation is for lets a backend keep it in the form its consumers want (an operand may be stored quantized).
enum class ActivationUse {
  kResidual,  // read and added to: float
  kOperand,   // written once by an op, read only by linear ops
  kQuery,     // written by qkv_rope_store, read by paged_attention
};

// A buffer of [max_rows, columns] in the backend's memory. Rows beyond the running batch hold nothing.
class Activation {
 public:
  virtual ~Activation() = default;
  int columns() const { return columns_; }

 protected:
  explicit Activation(int columns) : columns_(columns) {}
  int columns_;
};
using ActivationHandle = std::unique_ptr<Activation>;

// Rotary position embedding. Angle of pair i at position p: p * scale_i * base^(-2 i / dimensions).
struct Rope {
  enum class Pairing {
    kHalves,     // (i, i + dimensions/2), as in Hugging Face's qwen2
    kNeighbours  // (2 i, 2 i + 1), as in GGUF's llama
  };
  Pairing pairing = Pairing::kHalves;
  int dimensions = 0;  // of the head, from its start; the rest passes through. 0: no rotation
  float base = 10000.0f;
  // [dimensions / 2] or empty: all 1 (linear, llama3 and yarn scalings come down to this)
  std::vector<float> frequency_scale;
  float magnitude = 1.0f;  // factor on cos and sin (yarn)
};

struct AttentionShape {
  int heads = 0;     // query heads
  int kv_heads = 0;  // divides heads
  int head_dim = 0;
};

struct QkvWeights {
  const Weight* q = nullptr;       // [heads * head_dim, hidden]
  const Weight* k = nullptr;       // [kv_heads * head_dim, hidden]
  const Weight* v = nullptr;       // [kv_heads * head_dim, hidden]
  const Weight* q_bias = nullptr;  // [1, heads * head_dim], or nullptr; likewise below
  const Weight* k_bias = nullptr;
  const Weight* v_bias = nullptr;
  const Weight* q_norm = nullptr;  // [1, head_dim]: RMS norm of each head before rotation (qwen3, gemma3)
  const Weight* k_norm = nullptr;
  float norm_epsilon = 1e-6f;
};

enum class AttentionMask {
  kCausal,
  kBidirectional  // every row of the sequence in this batch sees all of its rows
};

struct AttentionOptions {
  AttentionMask mask = AttentionMask::kCausal;
  float scale = 0.0f;     // on q·k; 0: 1 / sqrt(head_dim)
  int window = 0;         // sliding window: a row sees its last `window` positions, itself included; 0: all
  float soft_cap = 0.0f;  // scores become cap * tanh(score / cap); 0: none
};

enum class GateActivation { kSilu, kGelu };  // gelu: tanh form

enum class Pooling { kLast, kMean, kFirst };

// The KV cache's form. Bytes of a block for all layers: layers * 2 * kv_heads * 16 * row_bytes(dtype, head_dim).
struct KvLayout {
  int layers = 0;
  int kv_heads = 0;
  int head_dim = 0;
  DType dtype = DType::kF16;  // kF16, kQ8_0, or kF32 in tests
};
inline size_t block_bytes(const KvLayout& kv) {
  return static_cast<size_t>(kv.layers) * 2 * static_cast<size_t>(kv.kv_heads) * kBlockPositions *
         row_bytes(kv.dtype, kv.head_dim);
}

struct BlockCopy {
  BlockId from, to;
};

// The k most probable tokens of a row, best first; equal logits in order of id.
struct Candidate {
  int32_t token;
  float logit;
};

struct DeviceInfo {
  std::string name;     // "cpu"
  std::string variant;  // "avx2"
  int threads = 1;
  // What else its bits hang on: the version of its arithmetic, and its options. With name, variant, and the cache's
  // dtype and layout the key under which KV may be kept on disk.
  std::string arithmetic = {};
};

struct BackendOptions {
  int threads = 0;  // 0: as many as the process may use
  // "" chooses by what the processor has; else one of available_isas(). $CARRONADE_ISA is read by make_cpu_backend.
  std::string isa = {};
  // Keep activations in float where the default rounds them to int8, or to BF16 (for fidelity tests; slower).
  bool float_activations = false;
  // Hold matrices that come as F32, F16 or BF16 in this one of them; unset, and in the reference backend: as they come.
  std::optional<DType> float_weights = {};
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const DeviceInfo& device() const = 0;
  virtual uint64_t memory_in_use() const = 0;  // bytes of weights, KV and activations it holds

  // ---- Set-up

  // Throws Error{kUnsupported} for a dtype or extent it cannot hold, Error{kUnavailable} when memory does not suffice.
  virtual WeightHandle load_weight(const WeightSource& source, WeightUse use) = 0;
  virtual ActivationHandle make_activation(int columns, ActivationUse use) = 0;
  // Once, before the first step: extents of a step. Logits are [max_outputs, vocabulary] float.
  virtual void reserve(int max_rows, int max_outputs, int vocabulary) = 0;
  // Once, before the first step. Block ids are 0 … blocks - 1. Throws Error{kUnavailable} when memory does not suffice.
  virtual void allocate_kv(const KvLayout& layout, int blocks) = 0;

  // Low-rank adapters: from now on rows whose sequence names `adapter` get y += scale * B (A x) after y = W x of this
  // weight. a: [rank, columns of target], b: [rows of target, rank].
  virtual void load_adapter(int adapter, const Weight& target, const WeightSource& a, const WeightSource& b,
                            float scale) = 0;
  virtual void drop_adapter(int adapter) = 0;

  // ---- A step

  // Uploads the batch; it and its block tables must stay unchanged until wait(). Its rows are the rows of every op
  // below (but see keep_output_rows).
  virtual void begin_step(const Batch& batch) = 0;

  // x[r] = table[tokens[r]] * scale
  // x: residual [rows, hidden]
  virtual void embed(const Weight& table, float scale, Activation& x) = 0;

  // x[r] += table[positions[r]]: learned positions.
  // table: kEmbedding [positions, hidden], x: residual [rows, hidden]
  virtual void add_positions(const Weight& table, Activation& x) = 0;

  // out[r] = x[r] / sqrt(mean(x[r]²) + epsilon) * weight, or out += … when `accumulate` (a residual only).
  // x: residual [rows, n], weight: [1, n], out: operand or residual [rows, n]
  virtual void rms_norm(const Activation& x, const Weight& weight, float epsilon, bool accumulate, Activation& out) = 0;

  // x[r] = (x[r] - mean(x[r])) / sqrt(variance(x[r]) + epsilon) * weight + bias, and out[r] the same: a norm that
  // stands behind a sum (bert) makes both the residual and the next operand.
  // x: residual [rows, n], weight, bias: [1, n], out: operand [rows, n]
  virtual void layer_norm(Activation& x, const Weight& weight, const Weight& bias, float epsilon, Activation& out) = 0;

  // out = in Wᵀ (+ bias), or out += … when `accumulate`.
  // in: operand [rows, columns], bias: [1, rows of W], out: residual [rows, rows of W]
  virtual void linear(const Activation& in, const Weight& weight, const Weight* bias, bool accumulate,
                      Activation& out) = 0;

  // q, k, v = in Wᵀ + bias (+ head norm), rotated; k and v go to the layer's KV blocks, q to `q`.
  // in: operand [rows, hidden], q: query [rows, heads * head_dim]
  virtual void qkv_rope_store(const Activation& in, const QkvWeights& weights, const AttentionShape& shape,
                              const Rope& rope, int layer, Activation& q) = 0;

  // From here to the end of the step its rows are those that want logits, if they are the last of their sequences: once
  // the last layer has stored keys and values, nothing hangs on the others. Their rows of x and q move to the front;
  // sequences without outputs are gone, for pooled() too.
  // x: residual [rows, hidden], q: query [rows, heads * head_dim]
  virtual void keep_output_rows(Activation& x, Activation& q) = 0;

  // out[r] = softmax(scale * q K ᵀ) V over the positions the row may see.
  // q: query, out: operand, both [rows, heads * head_dim]
  virtual void paged_attention(const Activation& q, const AttentionShape& shape, const AttentionOptions& options,
                               int layer, Activation& out) = 0;

  // out = activation(in Gateᵀ) * (in Upᵀ)
  // in: operand [rows, hidden], out: operand [rows, ffn]
  virtual void gated_mlp(const Activation& in, const Weight& gate, const Weight& up, GateActivation activation,
                         Activation& out) = 0;

  // out = gelu(in Upᵀ + bias), gelu in its exact form x Φ(x).
  // in: operand [rows, hidden], bias: [1, ffn] or nullptr, out: operand [rows, ffn]
  virtual void mlp(const Activation& in, const Weight& up, const Weight* bias, Activation& out) = 0;

  // For the output rows only: norm, then logits = norm(x) Headᵀ, then the soft cap if not 0.
  // x: residual [rows, hidden]
  virtual void logits(const Activation& x, const Weight& norm, float epsilon, const Weight& head, float soft_cap) = 0;

  // One vector a sequence of the batch, of norm(x) (norm may be nullptr), read by read_pooled().
  // x: residual [rows, hidden]
  virtual void pooled(const Activation& x, const Weight* norm, float epsilon, Pooling pooling) = 0;

  // Forbids tokens: bit t of row i's mask clear → logit t becomes -infinity. mask: [ceil(vocabulary / 32)]
  virtual void apply_mask(int output, std::span<const uint32_t> mask) = 0;

  // Waits until every op enqueued so far has run; then the readers below are valid until the next begin_step().
  virtual void wait() = 0;

  // `output` counts in batch.output_rows.
  virtual int32_t argmax(int output) = 0;  // lowest id among equals
  virtual void top_k(int output, int k, std::vector<Candidate>& out) = 0;
  virtual std::span<const float> read_logits(int output) = 0;    // [vocabulary]
  virtual std::span<const float> read_pooled(int sequence) = 0;  // [hidden]

  // ---- KV blocks, all layers, between steps

  virtual void copy_blocks(std::span<const BlockCopy> copies) = 0;
  // `out` and `in`: blocks.size() * block_bytes.
  virtual void read_blocks(std::span<const BlockId> blocks, std::span<std::byte> out) = 0;
  virtual void write_blocks(std::span<const BlockId> blocks, std::span<const std::byte> in) = 0;
};

// The scalar float oracle: obvious code, weights de-quantized row by row, KV as asked. In debug builds its memory is
// unreadable outside its own ops, so that a room that peeks crashes in tests.
std::unique_ptr<Backend> make_reference_backend(const BackendOptions& options);

// Bytes that a backend holds for a weight once load_weight() has it: what a model will take, known beforehand. Of
// `source`, the bytes are not read.
uint64_t reference_weight_bytes(const WeightSource& source);
uint64_t cpu_weight_bytes(const WeightSource& source, WeightUse use, const BackendOptions& options);

// Throws Error{kInvalidArgument} for an unknown instruction set (the names it would take are in the message),
// Error{kUnsupported} for one this processor lacks.
std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);
std::vector<std::string> available_isas();  // on this processor, best first

}  // namespace carronade
