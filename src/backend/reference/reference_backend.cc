#include "backend/reference/reference_backend.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace carronade {
namespace reference {
namespace {

const ReferenceWeight& cast(const Weight& weight) { return static_cast<const ReferenceWeight&>(weight); }
const ReferenceActivation& cast(const Activation& activation) {
  return static_cast<const ReferenceActivation&>(activation);
}
const GuardedMemory* memory_of(const Weight* weight) { return weight ? &cast(*weight).memory : nullptr; }

double dot(const float* a, const float* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// out = x / sqrt(mean(x²) + epsilon) * weight                                                  x, weight, out: [n]; out
// may be x
void normalize(const float* x, const float* weight, size_t n, float epsilon, float* out) {
  const double scale = 1.0 / std::sqrt(dot(x, x, n) / static_cast<double>(n) + epsilon);
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>(x[i] * scale * weight[i]);
}

// head: [head_dim]. Source: RoFormer (Su et al. 2021), section 3.4.2.
void rotate(float* head, int position, const Rope& rope) {
  const int pairs = rope.dimensions / 2;
  const bool halves = rope.pairing == Rope::Pairing::kHalves;
  for (int i = 0; i < pairs; ++i) {
    const auto index = static_cast<size_t>(i);
    const double scale = rope.frequency_scale.empty() ? 1.0 : rope.frequency_scale[index];
    const double angle = position * scale * std::pow(static_cast<double>(rope.base), -2.0 * i / rope.dimensions);
    const double cosine = std::cos(angle) * rope.magnitude, sine = std::sin(angle) * rope.magnitude;
    float& a = head[halves ? i : 2 * i];
    float& b = head[halves ? i + pairs : 2 * i + 1];
    const double x = a, y = b;
    a = static_cast<float>(x * cosine - y * sine);
    b = static_cast<float>(x * sine + y * cosine);
  }
}

double activate(double x, GateActivation activation) {
  if (activation == GateActivation::kSilu) return x / (1.0 + std::exp(-x));
  constexpr double kSqrt2OverPi = 0.79788456080286535588;  // tanh form of GELU: Hendrycks & Gimpel 2016
  return 0.5 * x * (1.0 + std::tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x)));
}

bool better(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

}  // namespace

// ---- Set-up

WeightHandle ReferenceBackend::load_weight(const WeightSource& source, WeightUse /*use*/) {
  const DTypeInfo& type = info(source.dtype);
  if (source.rows <= 0 || source.columns <= 0 || source.columns % type.block_elements != 0) {
    throw_error(ErrorCode::kUnsupported, "{}: {} x {} does not divide into blocks of {} ({} elements)", source.name,
                source.rows, source.columns, type.name, type.block_elements);
  }
  if (source.bytes.size() != static_cast<size_t>(source.rows) * row_bytes(source.dtype, source.columns)) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} bytes do not hold {} x {} of {}", source.name, source.bytes.size(),
                source.rows, source.columns, type.name);
  }
  auto weight = std::make_unique<ReferenceWeight>(source.rows, source.columns, source.dtype,
                                                  GuardedMemory(source.bytes.size(), bytes_in_use_));
  const Access access{&weight->memory};
  std::memcpy(weight->memory.bytes(), source.bytes.data(), source.bytes.size());
  return weight;
}

ActivationHandle ReferenceBackend::make_activation(int columns, ActivationUse /*use*/) {
  return std::make_unique<ReferenceActivation>(columns);
}

void ReferenceBackend::reserve(int max_rows, int max_outputs, int vocabulary) {
  max_rows_ = max_rows;
  max_outputs_ = max_outputs;
  vocabulary_ = vocabulary;
  const size_t logits = static_cast<size_t>(max_outputs) * static_cast<size_t>(vocabulary);
  logits_memory_ = GuardedMemory(logits * sizeof(float), bytes_in_use_);
}

void ReferenceBackend::allocate_kv(const KvLayout& layout, int blocks) {
  if (layout.dtype != DType::kF32 && layout.dtype != DType::kF16 && layout.dtype != DType::kQ8_0) {
    throw_error(ErrorCode::kUnsupported, "the KV cache can be F32, F16 or Q8_0, not {}", info(layout.dtype).name);
  }
  if (layout.head_dim % info(layout.dtype).block_elements != 0) {
    throw_error(ErrorCode::kUnsupported, "a head of {} does not divide into blocks of {}", layout.head_dim,
                info(layout.dtype).name);
  }
  kv_ = layout;
  blocks_ = blocks;
  kv_memory_ = GuardedMemory(static_cast<size_t>(blocks) * block_bytes(layout), bytes_in_use_);
}

void ReferenceBackend::load_adapter(int adapter, const Weight& target, const WeightSource& a, const WeightSource& b,
                                    float scale) {
  if (a.columns != target.columns() || b.rows != target.rows() || a.rows != b.columns) {
    throw_error(ErrorCode::kUnsupported, "the adapter's {} ({} x {}) and {} ({} x {}) do not fit a weight of {} x {}",
                a.name, a.rows, a.columns, b.name, b.rows, b.columns, target.rows(), target.columns());
  }
  adapters_[{adapter, &target}] = {load_weight(a, WeightUse::kLinear), load_weight(b, WeightUse::kLinear), scale};
}

void ReferenceBackend::drop_adapter(int adapter) {
  std::erase_if(adapters_, [&](const auto& entry) { return entry.first.first == adapter; });
}

ReferenceActivation& ReferenceBackend::prepare(Activation& activation) {
  auto& out = static_cast<ReferenceActivation&>(activation);
  const size_t bytes = static_cast<size_t>(max_rows_) * static_cast<size_t>(out.columns()) * sizeof(float);
  if (out.memory.size() < bytes) out.memory = GuardedMemory(bytes, bytes_in_use_);
  return out;
}

// ---- Ops

void ReferenceBackend::begin_step(const Batch& batch) {
  assert(batch.rows() <= max_rows_ && static_cast<int>(batch.output_rows.size()) <= max_outputs_);
  assert(batch.positions.size() == batch.tokens.size());
  batch_ = &batch;
  rows_.resize(batch.tokens.size());
  std::iota(rows_.begin(), rows_.end(), 0);
  row_sequence_.clear();
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    assert(batch.sequences[s].first_row == static_cast<int>(row_sequence_.size()));
    row_sequence_.insert(row_sequence_.end(), static_cast<size_t>(batch.sequences[s].rows), static_cast<int>(s));
  }
  assert(row_sequence_.size() == batch.tokens.size());
}

void ReferenceBackend::embed(const Weight& table, float scale, Activation& x) {
  const ReferenceWeight& weights = cast(table);
  ReferenceActivation& out = prepare(x);
  const Access access{&weights.memory, &out.memory};
  const size_t bytes = row_bytes(weights.dtype, weights.columns());
  for (const int r : rows_) {
    const auto token = static_cast<size_t>(batch_->tokens[static_cast<size_t>(r)]);
    dequantize(weights.dtype, weights.memory.bytes() + token * bytes, out.row(r), weights.columns());
    for (int i = 0; i < out.columns(); ++i) out.row(r)[i] *= scale;
  }
}

void ReferenceBackend::add_positions(const Weight& table, Activation& x) {
  const ReferenceWeight& weights = cast(table);
  ReferenceActivation& out = prepare(x);
  const Access access{&weights.memory, &out.memory};
  const size_t bytes = row_bytes(weights.dtype, weights.columns());
  std::vector<float> learned(static_cast<size_t>(weights.columns()));
  for (const int r : rows_) {
    const int position = batch_->positions[static_cast<size_t>(r)];
    assert(position >= 0 && position < weights.rows());
    dequantize(weights.dtype, weights.memory.bytes() + static_cast<size_t>(position) * bytes, learned.data(),
               weights.columns());
    for (size_t i = 0; i < learned.size(); ++i) out.row(r)[i] += learned[i];
  }
}

void ReferenceBackend::rms_norm(const Activation& x, const Weight& weight, float epsilon, bool accumulate,
                                Activation& out) {
  const ReferenceActivation& in = cast(x);
  ReferenceActivation& result = prepare(out);
  const Access access{&in.memory, memory_of(&weight), &result.memory};
  const std::vector<float> gains = vector_of(weight);
  const auto n = static_cast<size_t>(in.columns());
  std::vector<float> normalized(n);
  for (const int r : rows_) {
    normalize(in.row(r), gains.data(), n, epsilon, normalized.data());
    for (size_t i = 0; i < n; ++i) result.row(r)[i] = accumulate ? result.row(r)[i] + normalized[i] : normalized[i];
  }
}

// Source: Layer Normalization (Ba et al. 2016), section 3.
void ReferenceBackend::layer_norm(Activation& x, const Weight& weight, const Weight& bias, float epsilon,
                                  Activation& out) {
  ReferenceActivation& residual = prepare(x);
  ReferenceActivation& result = prepare(out);
  const Access access{&residual.memory, memory_of(&weight), memory_of(&bias), &result.memory};
  const std::vector<float> gains = vector_of(weight), offsets = vector_of(bias);
  const auto n = gains.size();
  for (const int r : rows_) {
    float* row = residual.row(r);
    double mean = 0, variance = 0;
    for (size_t i = 0; i < n; ++i) mean += row[i] / static_cast<double>(n);
    for (size_t i = 0; i < n; ++i) variance += (row[i] - mean) * (row[i] - mean) / static_cast<double>(n);
    const double scale = 1.0 / std::sqrt(variance + epsilon);
    for (size_t i = 0; i < n; ++i) row[i] = static_cast<float>((row[i] - mean) * scale * gains[i] + offsets[i]);
    std::copy_n(row, n, result.row(r));
  }
}

void ReferenceBackend::linear(const Activation& in, const Weight& weight, const Weight* bias, bool accumulate,
                              Activation& out) {
  ReferenceActivation& result = prepare(out);
  const Access access{&cast(in).memory, memory_of(&weight), memory_of(bias), &result.memory};
  const std::vector<float> product = multiply(cast(in).row(0), rows_, weight);
  const auto n = static_cast<size_t>(weight.rows());
  const std::vector<float> offset = bias ? vector_of(*bias) : std::vector<float>(n);
  for (size_t i = 0; i < product.size(); ++i) {
    float& y = result.memory.floats()[i];
    y = (accumulate ? y : 0.0f) + (product[i] + offset[i % n]);
  }
}

void ReferenceBackend::qkv_rope_store(const Activation& in, const QkvWeights& weights, const AttentionShape& shape,
                                      const Rope& rope, int layer, Activation& q) {
  ReferenceActivation& query = prepare(q);
  const Access access{&cast(in).memory,
                      memory_of(weights.q),
                      memory_of(weights.k),
                      memory_of(weights.v),
                      memory_of(weights.q_bias),
                      memory_of(weights.k_bias),
                      memory_of(weights.v_bias),
                      memory_of(weights.q_norm),
                      memory_of(weights.k_norm),
                      &query.memory,
                      &kv_memory_};
  const auto dim = static_cast<size_t>(shape.head_dim);

  // [rows, heads * head_dim]: projection, bias, norm and rotation of each head.
  const auto project = [&](const Weight& weight, const Weight* bias, const Weight* norm, bool rotated) {
    std::vector<float> heads = multiply(cast(in).row(0), rows_, weight);
    const auto n = static_cast<size_t>(weight.rows());
    const std::vector<float> offset = bias ? vector_of(*bias) : std::vector<float>(n);
    const std::vector<float> gains = norm ? vector_of(*norm) : std::vector<float>();
    for (size_t i = 0; i < heads.size(); ++i) heads[i] += offset[i % n];
    for (size_t start = 0; start < heads.size(); start += dim) {
      if (norm) normalize(&heads[start], gains.data(), dim, weights.norm_epsilon, &heads[start]);
      if (rotated) rotate(&heads[start], batch_->positions[start / n], rope);
    }
    return heads;
  };

  const std::vector<float> queries = project(*weights.q, weights.q_bias, weights.q_norm, true);
  const std::vector<float> keys = project(*weights.k, weights.k_bias, weights.k_norm, true);
  const std::vector<float> values = project(*weights.v, weights.v_bias, nullptr, false);
  std::copy(queries.begin(), queries.end(), query.memory.floats());
  for (const int r : rows_) {
    for (int head = 0; head < shape.kv_heads; ++head) {
      const size_t at =
          (static_cast<size_t>(r) * static_cast<size_t>(shape.kv_heads) + static_cast<size_t>(head)) * dim;
      const int position = batch_->positions[static_cast<size_t>(r)];
      const std::span<const BlockId> table = sequence_of(r).block_table;
      quantize(kv_.dtype, &keys[at], kv_row(table, position, layer, Part::kKeys, head), shape.head_dim);
      quantize(kv_.dtype, &values[at], kv_row(table, position, layer, Part::kValues, head), shape.head_dim);
    }
  }
}

void ReferenceBackend::keep_output_rows(Activation& x, Activation& q) {
  if (!output_rows_alone(*batch_, outputs_)) return;
  for (ReferenceActivation* kept : {&prepare(x), &prepare(q)}) {
    const Access access{&kept->memory};
    for (size_t i = 0; i < batch_->output_rows.size(); ++i) {
      const float* from = kept->row(batch_->output_rows[i]);
      float* to = kept->row(static_cast<int>(i));
      if (to != from) std::copy_n(from, kept->columns(), to);
    }
  }
  begin_step(outputs_);
}

void ReferenceBackend::paged_attention(const Activation& q, const AttentionShape& shape,
                                       const AttentionOptions& options, int layer, Activation& out) {
  const ReferenceActivation& query = cast(q);
  ReferenceActivation& result = prepare(out);
  const Access access{&query.memory, &result.memory, &kv_memory_};
  const auto dim = static_cast<size_t>(shape.head_dim);
  const double scale = options.scale != 0.0f ? options.scale : 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
  std::vector<float> vector(dim);
  std::vector<double> scores, sum(dim);
  for (const int r : rows_) {
    const SequenceRows& sequence = sequence_of(r);
    const int position = batch_->positions[static_cast<size_t>(r)];
    const int last = options.mask == AttentionMask::kCausal ? position : sequence.first_position + sequence.rows - 1;
    const int first = options.window > 0 ? std::max(0, position - options.window + 1) : 0;
    for (int head = 0; head < shape.heads; ++head) {
      const float* query_head = query.row(r) + static_cast<size_t>(head) * dim;
      const int kv_head = head / (shape.heads / shape.kv_heads);
      scores.clear();
      for (int p = first; p <= last; ++p) {
        dequantize(kv_.dtype, kv_row(sequence.block_table, p, layer, Part::kKeys, kv_head), vector.data(),
                   shape.head_dim);
        double score = dot(vector.data(), query_head, dim) * scale;
        if (options.soft_cap != 0.0f) score = options.soft_cap * std::tanh(score / options.soft_cap);
        scores.push_back(score);
      }
      const double highest = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (double& score : scores) total += score = std::exp(score - highest);
      std::fill(sum.begin(), sum.end(), 0.0);
      for (int p = first; p <= last; ++p) {
        dequantize(kv_.dtype, kv_row(sequence.block_table, p, layer, Part::kValues, kv_head), vector.data(),
                   shape.head_dim);
        const double weight = scores[static_cast<size_t>(p - first)] / total;
        for (size_t i = 0; i < dim; ++i) sum[i] += weight * vector[i];
      }
      float* out_head = result.row(r) + static_cast<size_t>(head) * dim;
      for (size_t i = 0; i < dim; ++i) out_head[i] = static_cast<float>(sum[i]);
    }
  }
}

void ReferenceBackend::gated_mlp(const Activation& in, const Weight& gate, const Weight& up, GateActivation activation,
                                 Activation& out) {
  ReferenceActivation& result = prepare(out);
  const Access access{&cast(in).memory, memory_of(&gate), memory_of(&up), &result.memory};
  const std::vector<float> gates = multiply(cast(in).row(0), rows_, gate);
  const std::vector<float> ups = multiply(cast(in).row(0), rows_, up);
  for (size_t i = 0; i < gates.size(); ++i)
    result.memory.floats()[i] = static_cast<float>(activate(gates[i], activation) * ups[i]);
}

// Source of the activation: Hendrycks & Gimpel 2016, its exact form.
void ReferenceBackend::mlp(const Activation& in, const Weight& up, const Weight* bias, Activation& out) {
  ReferenceActivation& result = prepare(out);
  const Access access{&cast(in).memory, memory_of(&up), memory_of(bias), &result.memory};
  const std::vector<float> ups = multiply(cast(in).row(0), rows_, up);
  const auto n = static_cast<size_t>(up.rows());
  const std::vector<float> offset = bias ? vector_of(*bias) : std::vector<float>(n);
  for (size_t i = 0; i < ups.size(); ++i) {
    const double x = static_cast<double>(ups[i]) + offset[i % n];
    result.memory.floats()[i] = static_cast<float>(0.5 * x * std::erfc(-x / std::sqrt(2.0)));
  }
}

void ReferenceBackend::logits(const Activation& x, const Weight& norm, float epsilon, const Weight& head,
                              float soft_cap) {
  const ReferenceActivation& in = cast(x);
  const Access access{&in.memory, memory_of(&norm), memory_of(&head), &logits_memory_};
  assert(head.rows() == vocabulary_);
  const std::vector<float> gains = vector_of(norm);
  const auto hidden = static_cast<size_t>(in.columns());
  std::vector<float> normalized(batch_->output_rows.size() * hidden);
  for (size_t i = 0; i < batch_->output_rows.size(); ++i) {
    normalize(in.row(batch_->output_rows[i]), gains.data(), hidden, epsilon, &normalized[i * hidden]);
  }
  std::vector<float> scores = multiply(normalized.data(), batch_->output_rows, head);
  if (soft_cap != 0.0f) {
    for (float& score : scores) score = soft_cap * std::tanh(score / soft_cap);
  }
  std::copy(scores.begin(), scores.end(), logits_memory_.floats());
}

void ReferenceBackend::pooled(const Activation& x, const Weight* norm, float epsilon, Pooling pooling) {
  const ReferenceActivation& in = cast(x);
  const auto hidden = static_cast<size_t>(in.columns());
  const size_t bytes = batch_->sequences.size() * hidden * sizeof(float);
  if (pooled_memory_.size() < bytes) pooled_memory_ = GuardedMemory(bytes, bytes_in_use_);
  pooled_columns_ = in.columns();
  const Access access{&in.memory, memory_of(norm), &pooled_memory_};
  const std::vector<float> gains = norm ? vector_of(*norm) : std::vector<float>();
  std::vector<float> row(hidden);
  for (size_t s = 0; s < batch_->sequences.size(); ++s) {
    const SequenceRows& sequence = batch_->sequences[s];
    const int first = sequence.first_row + (pooling == Pooling::kLast ? sequence.rows - 1 : 0);
    const int count = pooling == Pooling::kMean ? sequence.rows : 1;
    std::vector<double> sum(hidden);
    for (int r = first; r < first + count; ++r) {
      std::copy_n(in.row(r), hidden, row.begin());
      if (norm) normalize(row.data(), gains.data(), hidden, epsilon, row.data());
      for (size_t i = 0; i < hidden; ++i) sum[i] += row[i];
    }
    for (size_t i = 0; i < hidden; ++i) pooled_memory_.floats()[s * hidden + i] = static_cast<float>(sum[i] / count);
  }
}

void ReferenceBackend::apply_mask(int output, std::span<const uint32_t> mask) {
  const Access access{&logits_memory_};
  float* row = logits_memory_.floats() + static_cast<size_t>(output) * static_cast<size_t>(vocabulary_);
  for (size_t t = 0; t < static_cast<size_t>(vocabulary_); ++t) {
    if (!(mask[t / 32] >> (t % 32) & 1u)) row[t] = -std::numeric_limits<float>::infinity();
  }
}

// ---- Readers

int32_t ReferenceBackend::argmax(int output) {
  const std::span<const float> row = read_logits(output);
  return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

void ReferenceBackend::top_k(int output, int k, std::vector<Candidate>& out) {
  const std::span<const float> row = read_logits(output);
  out.clear();
  for (size_t t = 0; t < row.size(); ++t) out.push_back({static_cast<int32_t>(t), row[t]});
  std::sort(out.begin(), out.end(), better);
  if (out.size() > static_cast<size_t>(k)) out.resize(static_cast<size_t>(k));
}

std::span<const float> ReferenceBackend::read_logits(int output) {
  const Access access{&logits_memory_};
  const auto n = static_cast<size_t>(vocabulary_);
  const float* row = logits_memory_.floats() + static_cast<size_t>(output) * n;
  std::vector<float>& copy = logits_copies_[output];
  copy.assign(row, row + n);
  return copy;
}

std::span<const float> ReferenceBackend::read_pooled(int sequence) {
  const Access access{&pooled_memory_};
  const auto n = static_cast<size_t>(pooled_columns_);
  const float* row = pooled_memory_.floats() + static_cast<size_t>(sequence) * n;
  std::vector<float>& copy = pooled_copies_[sequence];
  copy.assign(row, row + n);
  return copy;
}

// ---- KV blocks

void ReferenceBackend::copy_blocks(std::span<const BlockCopy> copies) {
  const Access access{&kv_memory_};
  const size_t bytes = block_bytes(kv_);
  for (const BlockCopy& copy : copies) {
    std::memcpy(kv_memory_.bytes() + static_cast<size_t>(copy.to) * bytes,
                kv_memory_.bytes() + static_cast<size_t>(copy.from) * bytes, bytes);
  }
}

void ReferenceBackend::read_blocks(std::span<const BlockId> blocks, std::span<std::byte> out) {
  const Access access{&kv_memory_};
  const size_t bytes = block_bytes(kv_);
  assert(out.size() == blocks.size() * bytes);
  for (size_t i = 0; i < blocks.size(); ++i) {
    std::memcpy(out.data() + i * bytes, kv_memory_.bytes() + static_cast<size_t>(blocks[i]) * bytes, bytes);
  }
}

void ReferenceBackend::write_blocks(std::span<const BlockId> blocks, std::span<const std::byte> in) {
  const Access access{&kv_memory_};
  const size_t bytes = block_bytes(kv_);
  assert(in.size() == blocks.size() * bytes);
  for (size_t i = 0; i < blocks.size(); ++i) {
    std::memcpy(kv_memory_.bytes() + static_cast<size_t>(blocks[i]) * bytes, in.data() + i * bytes, bytes);
  }
}

// ---- Helpers

std::vector<float> ReferenceBackend::multiply(const float* in, std::span<const int> rows, const Weight& weight) const {
  const ReferenceWeight& matrix = cast(weight);
  const auto outputs = static_cast<size_t>(matrix.rows()), inputs = static_cast<size_t>(matrix.columns());
  const size_t bytes = row_bytes(matrix.dtype, matrix.columns());
  std::vector<float> result(rows.size() * outputs);
  std::vector<float> w(inputs);
  for (size_t o = 0; o < outputs; ++o) {
    dequantize(matrix.dtype, matrix.memory.bytes() + o * bytes, w.data(), matrix.columns());
    for (size_t i = 0; i < rows.size(); ++i) {
      result[i * outputs + o] = static_cast<float>(dot(in + i * inputs, w.data(), inputs));
    }
  }
  if (!adapters_.empty()) {
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto found = adapters_.find({sequence_of(rows[i]).adapter, &weight});
      if (found != adapters_.end()) add_adapter(found->second, in + i * inputs, &result[i * outputs]);
    }
  }
  return result;
}

// out += scale * B (A in). Source: LoRA (Hu et al. 2021).
void ReferenceBackend::add_adapter(const Adapter& adapter, const float* in, float* out) const {
  const Access access{memory_of(adapter.a.get()), memory_of(adapter.b.get())};
  const auto apply = [](const ReferenceWeight& matrix, const float* x) {
    std::vector<float> y(static_cast<size_t>(matrix.rows())), w(static_cast<size_t>(matrix.columns()));
    for (size_t o = 0; o < y.size(); ++o) {
      dequantize(matrix.dtype, matrix.memory.bytes() + o * row_bytes(matrix.dtype, matrix.columns()), w.data(),
                 matrix.columns());
      y[o] = static_cast<float>(dot(w.data(), x, w.size()));
    }
    return y;
  };
  const std::vector<float> low = apply(cast(*adapter.a), in);
  const std::vector<float> high = apply(cast(*adapter.b), low.data());
  for (size_t o = 0; o < high.size(); ++o) out[o] += adapter.scale * high[o];
}

std::vector<float> ReferenceBackend::vector_of(const Weight& weight) const {
  const ReferenceWeight& source = cast(weight);
  std::vector<float> values(static_cast<size_t>(source.columns()));
  dequantize(source.dtype, source.memory.bytes(), values.data(), source.columns());
  return values;
}

std::byte* ReferenceBackend::kv_row(std::span<const BlockId> table, int position, int layer, Part part,
                                    int head) const {
  const auto block = static_cast<size_t>(table[static_cast<size_t>(position / kBlockPositions)]);
  assert(block < static_cast<size_t>(blocks_));
  const auto heads = static_cast<size_t>(kv_.kv_heads);
  const size_t side =
      (block * static_cast<size_t>(kv_.layers) + static_cast<size_t>(layer)) * 2 + static_cast<size_t>(part);
  const size_t row =
      (side * heads + static_cast<size_t>(head)) * kBlockPositions + static_cast<size_t>(position % kBlockPositions);
  return kv_memory_.bytes() + row * row_bytes(kv_.dtype, kv_.head_dim);
}

}  // namespace reference

std::unique_ptr<Backend> make_reference_backend(const BackendOptions& /*options*/) {
  return std::make_unique<reference::ReferenceBackend>();
}

uint64_t reference_weight_bytes(const WeightSource& source) {
  return static_cast<uint64_t>(source.rows) * row_bytes(source.dtype, source.columns);
}

}  // namespace carronade
