// Rotation, the paged KV cache and attention over it.
//
// A block of the cache holds, for each layer and KV head, a piece of keys and a piece of values of 16 positions
// (kernels.h draws them). A long context is cut into splits of kSplit positions, always at the same places. A row's
// splits are computed each for itself and merged in order, whether one worker does them one after another or several do
// them at once: the bits are the same.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"
#include "base/error.h"

namespace carronade::cpu {
namespace {

constexpr int kSplit = 256;  // positions
constexpr int kSplitBlocks = kSplit / kBlockPositions;
constexpr int kTaskQueries = 48;             // query vectors of a task: 48 · 128 floats of sums stay in L1 or L2
constexpr size_t kPartialFloats = 4u << 20;  // room for splits that run at once; pages come when touched

// q8_0: 32 values of one position as bytes, `pitch` apart, and their scale, rounded as tensor/ rounds them.
void quantize_group(const float* x, int8_t* q, int pitch, uint16_t* scale) {
  float largest = 0.0f;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float d = std::min(largest, 65504.0f * 127.0f) / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
  *scale = float_to_half(d);
  for (int i = 0; i < 32; ++i) {
    q[i * pitch] = static_cast<int8_t>(std::clamp(std::round(x[i] * inverse), -127.0f, 127.0f));
  }
}

// ---- What Q8_0 needs so that little is lost: keys and values in which nothing stands out.
//
// 1. A constant taken off all keys of a head changes all scores of a query alike, and so no softmax. Keys of Qwen2.5
//    have biases up to a hundred times their spread, in the pairs that hardly turn: there they are such a constant.
// 2. Keys and queries that were both mixed by an orthonormal transform have the same scores. Values are mixed likewise,
//    and what comes out of attention is mixed back.

// Pairs that turn by less than one radian in so many positions count as still.
constexpr double kStillPositions = 4096;

void take_off_bias(float* k, const float* bias, const Rope& rope, int first_still, int head_dim) {
  const int pairs = rope.dimensions / 2;
  const bool halves = rope.pairing == Rope::Pairing::kHalves;
  for (int i = first_still; i < pairs; ++i) {
    for (const int d : {halves ? i : 2 * i, halves ? i + pairs : 2 * i + 1}) k[d] -= bias[d] * rope.magnitude;
  }
  for (int d = rope.dimensions; d < head_dim; ++d) k[d] -= bias[d];
}

// The Walsh-Hadamard transform of each stretch of `width` values (a power of two), in place; its own inverse.
void mix(float* x, int n, int width) {
  const float norm = 1.0f / std::sqrt(static_cast<float>(width));
  for (int half = 1; half < width; half *= 2) {
    for (int i = 0; i < n; i += 2 * half) {
      for (int j = i; j < i + half; ++j) {
        const float a = x[j], b = x[j + half];
        x[j] = a + b;
        x[j + half] = a - b;
      }
    }
  }
  for (int i = 0; i < n; ++i) x[i] *= norm;
}
int mixed_width(int head_dim) { return head_dim & -head_dim; }  // the largest power of two that divides it

void rotate(float* x, const Rope& rope, const float* cos, const float* sin) {
  const int pairs = rope.dimensions / 2;
  const bool halves = rope.pairing == Rope::Pairing::kHalves;
  for (int i = 0; i < pairs; ++i) {
    float& a = x[halves ? i : 2 * i];
    float& b = x[halves ? i + pairs : 2 * i + 1];
    const float first = a * cos[i] - b * sin[i], second = a * sin[i] + b * cos[i];
    a = first;
    b = second;
  }
}

bool same(const Rope& a, const Rope& b) {
  return a.pairing == b.pairing && a.dimensions == b.dimensions && a.base == b.base && a.magnitude == b.magnitude &&
         a.frequency_scale == b.frequency_scale;
}

AttentionPartial partial_at(float* p, int queries) { return {p, p + queries, p + 2 * queries}; }
size_t partial_floats(int queries, int head_dim) {
  return static_cast<size_t>(queries) * static_cast<size_t>(head_dim + 2);
}

}  // namespace

void CpuBackend::allocate_kv(const KvLayout& layout, int blocks) {
  if (layout.dtype != DType::kF16 && layout.dtype != DType::kF32 && layout.dtype != DType::kQ8_0) {
    throw_error(ErrorCode::kUnsupported, "the CPU backend keeps KV as F16, F32 or Q8_0, not as {}",
                info(layout.dtype).name);
  }
  if (layout.dtype == DType::kQ8_0 && layout.head_dim % 32 != 0) {
    throw_error(ErrorCode::kUnsupported, "KV in Q8_0 needs heads of a multiple of 32, and this model's have {}",
                layout.head_dim);
  }
  kv_layout_ = layout;
  kv_format_ = layout.dtype == DType::kF16   ? KvFormat::kF16
               : layout.dtype == DType::kF32 ? KvFormat::kF32
                                             : KvFormat::kQ8_0;
  block_bytes_ = block_bytes(layout);
  piece_bytes_ = kBlockPositions * row_bytes(layout.dtype, layout.head_dim);
  kv_ = HugeMemory(block_bytes_ * static_cast<size_t>(blocks));
  kv_account_ = Account(memory_in_use_);
  kv_account_.set(kv_.size());
}

std::byte* CpuBackend::kv_piece(BlockId block, int layer, int head, int which) const {
  const auto index = static_cast<size_t>((layer * kv_layout_.kv_heads + head) * 2 + which);
  return kv_.data() + static_cast<size_t>(block) * block_bytes_ + index * piece_bytes_;
}

void CpuBackend::copy_blocks(std::span<const BlockCopy> copies) {
  for (const BlockCopy& copy : copies) {
    std::memcpy(kv_.data() + static_cast<size_t>(copy.to) * block_bytes_,
                kv_.data() + static_cast<size_t>(copy.from) * block_bytes_, block_bytes_);
  }
}

void CpuBackend::read_blocks(std::span<const BlockId> blocks, std::span<std::byte> out) {
  assert(out.size() == blocks.size() * block_bytes_);
  for (size_t i = 0; i < blocks.size(); ++i) {
    std::memcpy(out.data() + i * block_bytes_, kv_.data() + static_cast<size_t>(blocks[i]) * block_bytes_,
                block_bytes_);
  }
}

void CpuBackend::write_blocks(std::span<const BlockId> blocks, std::span<const std::byte> in) {
  assert(in.size() == blocks.size() * block_bytes_);
  for (size_t i = 0; i < blocks.size(); ++i) {
    std::memcpy(kv_.data() + static_cast<size_t>(blocks[i]) * block_bytes_, in.data() + i * block_bytes_, block_bytes_);
  }
}

// ---- Rotation and storing

// Made once a step: every layer asks for the same one.
const CpuBackend::RopeTable& CpuBackend::rope_table(const Rope& rope) {
  for (size_t i = 0; i < ropes_in_use_; ++i) {
    if (same(ropes_[i].rope, rope)) return ropes_[i];
  }
  if (ropes_in_use_ == ropes_.size()) ropes_.emplace_back();
  RopeTable& table = ropes_[ropes_in_use_++];
  table.rope = rope;
  const auto pairs = static_cast<size_t>(rope.dimensions / 2);
  const size_t count = batch_->positions.size() * pairs;
  table.cos.resize(count);
  table.sin.resize(count);
  table.first_still = static_cast<int>(pairs);
  for (size_t i = 0; i < pairs; ++i) {
    const double scale = rope.frequency_scale.empty() ? 1.0 : static_cast<double>(rope.frequency_scale[i]);
    const double frequency =
        scale * std::pow(static_cast<double>(rope.base), -2.0 * static_cast<double>(i) / rope.dimensions);
    if (frequency * kStillPositions > 1)
      table.first_still = static_cast<int>(pairs);
    else
      table.first_still = std::min(table.first_still, static_cast<int>(i));
    for (size_t r = 0; r < batch_->positions.size(); ++r) {
      const double angle = static_cast<double>(batch_->positions[r]) * frequency;
      table.cos[r * pairs + i] = static_cast<float>(std::cos(angle)) * rope.magnitude;
      table.sin[r * pairs + i] = static_cast<float>(std::sin(angle)) * rope.magnitude;
    }
  }
  return table;
}

// One position of one KV head into slot `slot` of its block.
void CpuBackend::store_key(const float* k, std::byte* keys, int slot) {
  const int n = kv_layout_.head_dim;
  if (kv_format_ == KvFormat::kF32) {
    for (int d = 0; d < n; ++d) std::memcpy(keys + 4 * (kBlockPositions * d + slot), k + d, 4);
  } else if (kv_format_ == KvFormat::kF16) {
    uint16_t half[32];
    for (int d = 0; d < n; d += 32) {
      const int count = std::min(32, n - d);
      kernels_.to_half(k + d, count, half);
      for (int i = 0; i < count; ++i) std::memcpy(keys + 2 * (kBlockPositions * (d + i) + slot), half + i, 2);
    }
  } else {
    auto* scales = reinterpret_cast<uint16_t*>(keys + kBlockPositions * n);
    for (int d = 0; d < n; d += 32) {
      quantize_group(k + d, reinterpret_cast<int8_t*>(keys) + kBlockPositions * d + slot, kBlockPositions,
                     scales + kBlockPositions * (d / 32) + slot);
    }
  }
}

void CpuBackend::store_value(const float* v, std::byte* values, int slot) {
  const int n = kv_layout_.head_dim;
  const auto at = static_cast<ptrdiff_t>(slot) * n;
  if (kv_format_ == KvFormat::kF32) {
    std::memcpy(values + 4 * at, v, 4 * static_cast<size_t>(n));
  } else if (kv_format_ == KvFormat::kF16) {
    kernels_.to_half(v, n, reinterpret_cast<uint16_t*>(values) + at);
  } else {
    auto* scales = reinterpret_cast<uint16_t*>(values + kBlockPositions * n);
    for (int d = 0; d < n; d += 32) {
      quantize_group(v + d, reinterpret_cast<int8_t*>(values) + at + d, 1, scales + kBlockPositions * (d / 32) + slot);
    }
  }
}

// Whoever writes the last panel of a head for a tile of rows finishes the head there.
void CpuBackend::qkv_rope_store(const Activation& in, const QkvWeights& weights, const AttentionShape& shape,
                                const Rope& rope, int layer, Activation& q) {
  assert(shape.kv_heads == kv_layout_.kv_heads && shape.head_dim == kv_layout_.head_dim && layer < kv_layout_.layers);
  CpuActivation& query = cast(q);
  query.prepare(max_rows_, {.floats = true});
  const int dim = shape.head_dim;
  const int64_t kv_stride = row_stride(int64_t{2} * shape.kv_heads * dim);
  float* kv = keys_values_.ensure(static_cast<size_t>(max_rows_) * static_cast<size_t>(kv_stride));
  // A norm behind the bias makes it another thing at each position.
  const float* key_bias = weights.k_bias && !weights.k_norm ? cast(*weights.k_bias).vector() : nullptr;
  keys_are_shifted_ = keys_are_shifted_ || (key_bias && kv_format_ == KvFormat::kQ8_0);
  const NewHeads heads{.shape = shape,
                       .rope = rope,
                       .turns = rope.dimensions > 0 ? &rope_table(rope) : nullptr,
                       .q_norm = weights.q_norm ? cast(*weights.q_norm).vector() : nullptr,
                       .k_norm = weights.k_norm ? cast(*weights.k_norm).vector() : nullptr,
                       .norm_epsilon = weights.norm_epsilon,
                       .key_bias = kv_format_ == KvFormat::kQ8_0 ? key_bias : nullptr,
                       .layer = layer,
                       .q = query.row(0),
                       .q_stride = query.stride,
                       .kv = kv,
                       .kv_stride = kv_stride};
  project_qkv(cast(in), weights, heads);
}

// Rows [first, first + rows) of one head, in place: of a query's, then of the keys' and the values'. Any worker, each
// head and row once.
void CpuBackend::finish_head(const NewHeads& new_heads, int head, int first, int rows) {
  const AttentionShape& shape = new_heads.shape;
  const Rope& rope = new_heads.rope;
  const int dim = shape.head_dim, key = head - shape.heads, value = key - shape.kv_heads;
  const bool is_query = key < 0, is_value = value >= 0, mixes = kv_format_ == KvFormat::kQ8_0;
  const float* norm = is_query ? new_heads.q_norm : is_value ? nullptr : new_heads.k_norm;
  auto sequence = batch_->sequences.begin();
  for (int r = first; r < first + rows; ++r) {
    float* x = new_heads.row(head, r);
    if (norm) kernels_.rms_norm_row(x, norm, new_heads.norm_epsilon, dim, x);
    if (new_heads.turns && !is_value) {
      const ptrdiff_t pair = static_cast<ptrdiff_t>(r) * (rope.dimensions / 2);
      rotate(x, rope, new_heads.turns->cos.data() + pair, new_heads.turns->sin.data() + pair);
    }
    if (new_heads.key_bias && !is_query && !is_value) {
      take_off_bias(x, new_heads.key_bias + static_cast<ptrdiff_t>(key) * dim, rope,
                    new_heads.turns ? new_heads.turns->first_still : 0, dim);
    }
    if (mixes) mix(x, dim, mixed_width(dim));
    if (is_query) continue;
    while (r >= sequence->first_row + sequence->rows) ++sequence;
    const int position = batch_->positions[static_cast<size_t>(r)], slot = position % kBlockPositions;
    const BlockId block = sequence->block_table[static_cast<size_t>(position / kBlockPositions)];
    if (is_value)
      store_value(x, kv_piece(block, new_heads.layer, value, 1), slot);
    else
      store_key(x, kv_piece(block, new_heads.layer, key, 0), slot);
  }
}

// ---- Attention

// Tasks of up to kTaskQueries query vectors, each with the splits that any of its rows sees.
void CpuBackend::plan_attention(const AttentionShape& shape, const AttentionOptions& options) {
  tasks_.clear();
  const int group = shape.heads / shape.kv_heads, rows_each = std::max(1, kTaskQueries / group);
  for (const SequenceRows& sequence : batch_->sequences) {
    for (int row = 0; row < sequence.rows; row += rows_each) {
      const int count = std::min(rows_each, sequence.rows - row), position = sequence.first_position + row;
      const int first = options.window > 0 ? std::max(0, position - options.window + 1) : 0;
      const int end =
          options.mask == AttentionMask::kCausal ? position + count : sequence.first_position + sequence.rows;
      const int first_split = first / kSplit, splits = (end + kSplit - 1) / kSplit - first_split;
      for (int head = 0; head < shape.kv_heads; ++head) {
        tasks_.push_back({&sequence, sequence.first_row + row, count, head, first_split, splits, -1});
      }
    }
  }
}

// Splits [first_split, first_split + splits) of a task into `total`; with `merge` onto what is there.
void CpuBackend::attend(const AttentionTask& task, const CpuActivation& q, const AttentionShape& shape,
                        const AttentionOptions& options, int layer, int first_split, int splits,
                        const AttentionPartial& total, bool merge, int worker) {
  const int group = shape.heads / shape.kv_heads, dim = shape.head_dim, queries = task.rows * group;
  std::vector<const float*>& pointers = query_pointers_[static_cast<size_t>(worker)];
  std::vector<int64_t>& bounds = query_bounds_[static_cast<size_t>(worker)];
  pointers.resize(static_cast<size_t>(queries));
  bounds.resize(2 * static_cast<size_t>(queries));
  const SequenceRows& sequence = *task.sequence;
  for (int r = 0; r < task.rows; ++r) {
    const int64_t position = sequence.first_position + (task.first_row - sequence.first_row) + r;
    const int64_t begin = options.window > 0 ? std::max<int64_t>(0, position - options.window + 1) : 0;
    const int64_t end = options.mask == AttentionMask::kCausal ? position + 1 : sequence.first_position + sequence.rows;
    for (int g = 0; g < group; ++g) {
      const auto i = static_cast<size_t>(r * group + g);
      pointers[i] = q.row(task.first_row + r) + static_cast<ptrdiff_t>(task.kv_head * group + g) * dim;
      bounds[i] = begin;
      bounds[static_cast<size_t>(queries) + i] = end;
    }
  }
  const float scale = options.scale != 0.0f ? options.scale : 1.0f / std::sqrt(static_cast<float>(dim));
  float* scratch = attended_.data() + static_cast<size_t>(worker) * attended_each_;
  const AttentionPartial one = partial_at(scratch, queries);
  for (int s = first_split; s < first_split + splits; ++s) {
    const std::byte* keys[kSplitBlocks];
    const std::byte* values[kSplitBlocks];
    const int64_t last_block = (bounds.back() + kBlockPositions - 1) / kBlockPositions;
    const int blocks =
        static_cast<int>(std::min<int64_t>(kSplitBlocks, last_block - static_cast<int64_t>(s) * kSplitBlocks));
    for (int b = 0; b < blocks; ++b) {
      const BlockId block = sequence.block_table[static_cast<size_t>(s * kSplitBlocks + b)];
      keys[b] = kv_piece(block, layer, task.kv_head, 0);
      values[b] = kv_piece(block, layer, task.kv_head, 1);
    }
    const AttentionSpan span{keys,
                             values,
                             blocks,
                             static_cast<int64_t>(s) * kSplit,
                             dim,
                             queries,
                             pointers.data(),
                             bounds.data(),
                             bounds.data() + queries,
                             scale,
                             options.soft_cap};
    kernels_.attention[static_cast<int>(kv_format_)](span, merge ? one : total);
    if (!merge) return;  // one split, straight to its place
    for (int i = 0; i < queries; ++i) {
      const int64_t at = static_cast<int64_t>(i) * dim;
      kernels_.merge_partial(total.max + i, total.sum + i, total.out + at, one.max[i], one.sum[i], one.out + at, dim);
    }
  }
}

void CpuBackend::finish_attention(const AttentionTask& task, const AttentionShape& shape, const AttentionPartial& total,
                                  CpuActivation& out) {
  const int group = shape.heads / shape.kv_heads, dim = shape.head_dim;
  for (int i = 0; i < task.rows * group; ++i) {
    float* to = out.row(task.first_row + i / group) + static_cast<ptrdiff_t>(task.kv_head * group + i % group) * dim;
    for (int d = 0; d < dim; ++d) to[d] = total.out[static_cast<ptrdiff_t>(i) * dim + d] / total.sum[i];
    if (kv_format_ == KvFormat::kQ8_0) mix(to, dim, mixed_width(dim));
  }
}

void CpuBackend::paged_attention(const Activation& q, const AttentionShape& shape, const AttentionOptions& options,
                                 int layer, Activation& out) {
  CpuActivation& result = cast(out);
  if (keys_are_shifted_ && options.soft_cap != 0.0f) {
    throw Error(ErrorCode::kUnsupported, "KV in Q8_0 is not supported for capped scores over keys with biases");
  }
  prepare_operand(result);
  result.prepare(max_rows_, {.floats = true});
  plan_attention(shape, options);
  const int group = shape.heads / shape.kv_heads, dim = shape.head_dim;
  const int most = std::max(1, kTaskQueries / group) * group;
  attended_each_ = 2 * partial_floats(most, dim) + 16;
  attended_.ensure(attended_each_ * static_cast<size_t>(team_.threads()));

  // With few tasks over long contexts (decoding), splits run at once and are merged afterwards; otherwise one worker
  // does a task's splits.
  size_t need = 0, items = 0;
  for (AttentionTask& task : tasks_) {
    task.partial = static_cast<int64_t>(need);
    need += static_cast<size_t>(task.splits) * partial_floats(task.rows * group, dim);
    items += static_cast<size_t>(task.splits);
  }
  const bool apart = items > tasks_.size() && tasks_.size() < 8 * static_cast<size_t>(team_.threads()) &&
                     need <= kPartialFloats && team_.threads() > 1;
  const auto start_total = [&](float* p, int queries) {
    const AttentionPartial total = partial_at(p, queries);
    std::fill_n(total.max, queries, kNothingSeen);
    std::fill_n(total.sum, queries, 0.0f);
    std::fill_n(total.out, static_cast<size_t>(queries) * static_cast<size_t>(dim), 0.0f);
    return total;
  };
  const auto total_of = [&](int worker, int queries) {
    return start_total(attended_.data() + static_cast<size_t>(worker) * attended_each_ + partial_floats(most, dim),
                       queries);
  };
  const auto count = static_cast<int64_t>(tasks_.size());
  if (apart) {
    float* partials = partials_.ensure(kPartialFloats);
    team_.run(static_cast<int64_t>(items), 1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t item = begin; item < end; ++item) {
        int64_t split = item;
        const AttentionTask* task = tasks_.data();
        while (split >= task->splits) split -= (task++)->splits;
        const int queries = task->rows * group;
        float* at = partials + task->partial + split * static_cast<int64_t>(partial_floats(queries, dim));
        attend(*task, cast(q), shape, options, layer, task->first_split + static_cast<int>(split), 1,
               partial_at(at, queries), false, worker);
      }
    });
    team_.run(count, 1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t t = begin; t < end; ++t) {
        const AttentionTask& task = tasks_[static_cast<size_t>(t)];
        const int queries = task.rows * group;
        const AttentionPartial total = total_of(worker, queries);
        for (int s = 0; s < task.splits; ++s) {
          const AttentionPartial one =
              partial_at(partials + task.partial + s * static_cast<int64_t>(partial_floats(queries, dim)), queries);
          for (int i = 0; i < queries; ++i) {
            const int64_t at = static_cast<int64_t>(i) * dim;
            kernels_.merge_partial(total.max + i, total.sum + i, total.out + at, one.max[i], one.sum[i], one.out + at,
                                   dim);
          }
        }
        finish_attention(task, shape, total, result);
      }
    });
  } else {
    team_.run(count, 1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t t = begin; t < end; ++t) {
        const AttentionTask& task = tasks_[static_cast<size_t>(t)];
        const AttentionPartial total = total_of(worker, task.rows * group);
        attend(task, cast(q), shape, options, layer, task.first_split, task.splits, total, true, worker);
        finish_attention(task, shape, total, result);
      }
    });
  }
  if (wanted_.int8 || wanted_.bfloat) {
    team_.run(rows(), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) write_operand(result.row(r), result.columns(), result, r);
    });
  }
}

}  // namespace carronade::cpu
