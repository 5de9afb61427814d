#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "backend/cpu/isa.h"
#include "base/error.h"

namespace carronade {

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options) {
  std::string isa = options.isa;
  if (isa.empty()) {
    if (const char* forced = std::getenv("CARRONADE_ISA")) isa = forced;
  }
  // Every step waits for all of them; far more than there are processors would bring the machine to a stop.
  const int most_threads = std::max(64, 4 * cpu::usable_cpus());
  if (options.threads < 0 || options.threads > most_threads) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("threads must be from 0 (all {} of this machine) to {}, not {}", cpu::usable_cpus(),
                            most_threads, options.threads),
                "threads");
  }
  return std::make_unique<cpu::CpuBackend>(options, cpu::choose_kernels(isa));
}

namespace cpu {
namespace {

DType held_dtype(DType dtype, WeightUse use, const std::optional<DType>& float_weights) {
  return float_weights && is_float(dtype) && use != WeightUse::kVector ? *float_weights : dtype;
}

size_t held_bytes(DType dtype, int64_t rows, int64_t columns, WeightUse use) {
  if (use == WeightUse::kVector) return static_cast<size_t>(rows * columns) * sizeof(float);
  if (use == WeightUse::kEmbedding) return static_cast<size_t>(rows) * row_bytes(dtype, columns);
  return static_cast<size_t>((rows + kPanelRows - 1) / kPanelRows) * panel_bytes(layout_of(dtype), columns);
}

std::string arithmetic_of(const BackendOptions& options) {
  return fmt::format("{} {} {}", kArithmeticVersion,
                     options.float_weights ? info(*options.float_weights).name : std::string_view("as published"),
                     options.float_activations ? "float" : "int8");
}

}  // namespace
}  // namespace cpu

uint64_t cpu_weight_bytes(const WeightSource& source, WeightUse use, const BackendOptions& options) {
  const DType dtype = cpu::held_dtype(source.dtype, use, options.float_weights);
  return cpu::whole_lines(cpu::held_bytes(dtype, source.rows, source.columns, use));
}

namespace cpu {

CpuBackend::CpuBackend(const BackendOptions& options, const Kernels& kernels)
    : kernels_(kernels),
      float_activations_(options.float_activations),
      float_weights_(options.float_weights),
      team_(options.threads > 0 ? options.threads : usable_cpus()),
      panels_(memory_in_use_),
      keys_values_(memory_in_use_),
      gates_(memory_in_use_),
      ups_(memory_in_use_),
      made_(memory_in_use_),
      low_rank_(memory_in_use_),
      logits_(memory_in_use_),
      pooled_(memory_in_use_),
      partials_(memory_in_use_),
      attended_(memory_in_use_),
      query_pointers_(static_cast<size_t>(team_.threads())),
      query_bounds_(static_cast<size_t>(team_.threads())),
      rests_scratch_(static_cast<size_t>(team_.threads())) {
  device_ = {"cpu", kernels.name, team_.threads(), arithmetic_of(options)};
}

CpuBackend::~CpuBackend() = default;

// ---- Set-up

WeightHandle CpuBackend::load_weight(const WeightSource& source, WeightUse use) {
  const size_t stride = row_bytes(source.dtype, source.columns);
  if (source.rows <= 0 || source.columns <= 0 || source.columns % info(source.dtype).block_elements != 0 ||
      source.bytes.size() != stride * static_cast<size_t>(source.rows)) {
    throw_error(ErrorCode::kUnsupported, "weight {}: {} bytes do not make [{}, {}] of {}", source.name,
                source.bytes.size(), source.rows, source.columns, info(source.dtype).name);
  }
  const DType dtype = held_dtype(source.dtype, use, float_weights_);
  return dtype == source.dtype ? hold_weight(source, use) : load_converted(source, dtype, use);
}

WeightHandle CpuBackend::hold_weight(const WeightSource& source, WeightUse use) {
  const size_t stride = row_bytes(source.dtype, source.columns);
  auto weight = std::make_unique<CpuWeight>(source.rows, source.columns, use, source.dtype, memory_in_use_);
  weight->memory = arena_.allocate(held_bytes(source.dtype, source.rows, source.columns, use));
  if (use == WeightUse::kVector) {
    dequantize(source.dtype, source.bytes.data(), reinterpret_cast<float*>(weight->memory.data),
               source.rows * source.columns);
  } else if (use == WeightUse::kEmbedding) {
    constexpr int64_t kPart = 1 << 20;
    const auto size = static_cast<int64_t>(source.bytes.size());
    team_.run((size + kPart - 1) / kPart, 1, [&](int64_t begin, int64_t end, int) {
      std::memcpy(weight->memory.data + begin * kPart, source.bytes.data() + begin * kPart,
                  static_cast<size_t>(std::min(end * kPart, size) - begin * kPart));
    });
  } else {
    weight->layout = layout_of(source.dtype);
    weight->panel_size = panel_bytes(weight->layout, source.columns);
    team_.run(weight->panels(), 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t p = begin; p < end; ++p) {
        const int64_t row = p * kPanelRows;
        pack_panel(source.dtype, source.bytes.data() + static_cast<size_t>(row) * stride, stride,
                   static_cast<int>(std::min<int64_t>(kPanelRows, source.rows - row)), source.columns,
                   weight->memory.data + static_cast<size_t>(p) * weight->panel_size);
      }
    });
    (runs_on_int8(*weight) ? wanted_.int8 : runs_on_bfloat(*weight) ? wanted_.bfloat : wanted_.floats) = true;
  }
  weight->account.set(weight->memory.size);
  return weight;
}

ActivationHandle CpuBackend::make_activation(int columns, ActivationUse use) {
  auto activation = std::make_unique<CpuActivation>(columns, use, memory_in_use_);
  if (max_rows_ > 0 && use != ActivationUse::kOperand) activation->prepare(max_rows_, {.floats = true});
  return activation;
}

void CpuBackend::reserve(int max_rows, int max_outputs, int vocabulary) {
  max_rows_ = max_rows;
  max_outputs_ = max_outputs;
  vocabulary_ = vocabulary;
  logits_stride_ = (vocabulary + 15) / 16 * 16;
  logits_.ensure(static_cast<size_t>(max_outputs) * static_cast<size_t>(logits_stride_));
}

WeightHandle CpuBackend::load_converted(const WeightSource& source, DType dtype, WeightUse use) {
  const size_t from = row_bytes(source.dtype, source.columns), to = row_bytes(dtype, source.columns);
  std::vector<std::byte> bytes(to * static_cast<size_t>(source.rows));
  std::atomic<bool> fits{true};
  team_.run(source.rows, 16, [&](int64_t begin, int64_t end, int) {
    const bool done = convert_floats(source.dtype, source.bytes.data() + from * static_cast<size_t>(begin), dtype,
                                     bytes.data() + to * static_cast<size_t>(begin), (end - begin) * source.columns);
    if (!done) fits = false;
  });
  if (!fits) {
    throw_error(ErrorCode::kUnsupported, "weight {} has numbers that {} cannot hold; leave it as {}", source.name,
                info(dtype).name, info(source.dtype).name);
  }
  return hold_weight({source.name, dtype, source.rows, source.columns, bytes}, use);
}

void CpuBackend::load_adapter(int adapter, const Weight& target, const WeightSource& a, const WeightSource& b,
                              float scale) {
  if (a.columns != target.columns() || b.rows != target.rows() || a.rows != b.columns) {
    throw_error(ErrorCode::kUnsupported, "adapter matrices {} [{}, {}] and {} [{}, {}] do not fit a weight of [{}, {}]",
                a.name, a.rows, a.columns, b.name, b.rows, b.columns, target.rows(), target.columns());
  }
  const auto load = [&](const WeightSource& source) {
    std::vector<float> values(static_cast<size_t>(source.rows * source.columns));
    dequantize(source.dtype, source.bytes.data(), values.data(), source.rows * source.columns);
    return hold_weight({source.name, DType::kF32, source.rows, source.columns, std::as_bytes(std::span(values))},
                       WeightUse::kLinear);
  };
  adapters_[{adapter, &target}] = {load(a), load(b), scale};
}

void CpuBackend::drop_adapter(int adapter) {
  std::erase_if(adapters_, [&](const auto& entry) { return entry.first.first == adapter; });
}

// ---- A step

void CpuBackend::begin_step(const Batch& batch) {
  assert(batch.rows() <= max_rows_ && batch.tokens.size() == batch.positions.size());
  batch_ = &batch;
  ropes_in_use_ = 0;
}

void CpuBackend::prepare_operand(CpuActivation& out) {
  assert(out.use == ActivationUse::kOperand);
  out.prepare(max_rows_, wanted_);
  out.is_split.clear();
}

// Columns from a chunk's first on, up to the row's end or a chunk's, in every form that is wanted. x may be where the
// floats go.
void CpuBackend::write_operand(const float* x, int64_t n, CpuActivation& out, int64_t r, int64_t group) {
  assert(group % kChunkSteps == 0);
  if (wanted_.floats) {
    float* to = out.row(r) + group * kStepColumns;
    if (to != x) std::copy_n(x, n, to);
  }
  if (wanted_.int8) kernels_.quantize_row(x, n, out.quantized().at(r, group));
  if (wanted_.bfloat) kernels_.to_bfloat(x, n, out.pair_row(r) + group * kStepColumns / 2);
}

// Of a normalized row, to int8; split where that would lose more than a thousandth of what stands beside the largest
// values. A row without outliers loses some 3e-5 of it. But at a model's first token some values are hundreds of times
// larger than all others ("Massive Activations", Sun et al. 2024), which take everything else in their groups of 32
// down to 0. Split, such a token costs a row more; the first answers of Qwen2.5-Coder-1.5B come 500 times closer to
// exact.
void CpuBackend::round_row(const float* x, CpuActivation& out, int64_t r, int worker) {
  constexpr int kGroup = 32;
  constexpr float kMostLost = 1e-3f;
  const QuantizedRows row = out.quantized().row(r);
  kernels_.quantize_row(x, out.columns(), row);
  const int64_t n = out.columns(), groups = row.k / kGroup;
  float sums[8] = {}, largest = 0, lost = 0;
  for (int64_t i = 0; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; ++j) sums[j] += x[i + j] * x[i + j];
  }
  for (int64_t i = n / 8 * 8; i < n; ++i) sums[0] += x[i] * x[i];
  for (int64_t g = 0; g < groups; ++g) {
    largest += 127.0f * row.scale[g] * (127.0f * row.scale[g]);
    lost += row.scale[g] * row.scale[g] * (kGroup / 12.0f);  // a rounding error is uniform within a step
  }
  float kept = -largest;
  for (const float sum : sums) kept += sum;
  if (!(lost > kMostLost * std::max(kept, 0.0f)) || lost == 0.0f) return;
  out.is_split[static_cast<size_t>(r)] = 1;
  std::vector<float>& rest = rests_scratch_[static_cast<size_t>(worker)];
  rest.resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i)
    rest[static_cast<size_t>(i)] = x[i] - row.scale[i / kGroup] * static_cast<float>(row.q[i]);
  kernels_.quantize_row(rest.data(), n, out.rests().row(r));
}

void CpuBackend::embed(const Weight& table, float scale, Activation& x) {
  const CpuWeight& weight = cast(table);
  CpuActivation& out = cast(x);
  assert(weight.use == WeightUse::kEmbedding || weight.use == WeightUse::kTied);
  out.prepare(max_rows_, {.floats = true});
  const size_t bytes = row_bytes(weight.dtype, weight.columns());
  team_.run(rows(), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t token = batch_->tokens[static_cast<size_t>(r)];
      assert(token >= 0 && token < weight.rows());
      if (weight.use == WeightUse::kTied)
        unpack_row(weight.layout, weight.memory.data, weight.columns(), token, out.row(r));
      else
        dequantize(weight.dtype, weight.memory.data + static_cast<size_t>(token) * bytes, out.row(r), weight.columns());
      if (scale != 1.0f) std::for_each(out.row(r), out.row(r) + out.columns(), [&](float& value) { value *= scale; });
    }
  });
}

void CpuBackend::keep_output_rows(Activation& x, Activation& q) {
  if (!output_rows_alone(*batch_, outputs_)) return;
  for (const CpuActivation* kept : {&cast(x), &cast(q)}) {
    for (size_t i = 0; i < batch_->output_rows.size(); ++i) {
      const float* from = kept->row(batch_->output_rows[i]);
      float* to = kept->row(static_cast<int64_t>(i));
      if (to != from) std::copy_n(from, kept->columns(), to);
    }
  }
  batch_ = &outputs_;
  ropes_in_use_ = 0;  // they are of other rows
}

void CpuBackend::rms_norm(const Activation& x, const Weight& weight, float epsilon, bool accumulate, Activation& out) {
  CpuActivation& result = cast(out);
  const bool operand = result.use == ActivationUse::kOperand;
  assert(!(operand && accumulate) && x.columns() == out.columns() && weight.columns() == out.columns());
  if (operand)
    prepare_operand(result);
  else
    result.prepare(max_rows_, {.floats = true});
  const float* gains = cast(weight).vector();
  const auto n = static_cast<size_t>(x.columns());
  const bool in_place = !accumulate && (!operand || wanted_.floats);
  if (!in_place) rows_scratch_.resize(static_cast<size_t>(team_.threads()));
  if (operand && wanted_.int8) result.prepare_rests(max_rows_);
  team_.run(rows(), 1, [&](int64_t begin, int64_t end, int worker) {
    std::vector<float>* scratch = in_place ? nullptr : &rows_scratch_[static_cast<size_t>(worker)];
    if (scratch && scratch->size() < n) scratch->resize(n);
    for (int64_t r = begin; r < end; ++r) {
      float* normalized = in_place ? result.row(r) : scratch->data();
      kernels_.rms_norm_row(cast(x).row(r), gains, epsilon, x.columns(), normalized);
      if (accumulate) {
        for (size_t i = 0; i < n; ++i) result.row(r)[i] += normalized[i];
      } else if (operand) {
        if (wanted_.int8) round_row(normalized, result, r, worker);
        if (wanted_.bfloat) kernels_.to_bfloat(normalized, x.columns(), result.pair_row(r));
      }
    }
  });
}

void CpuBackend::pooled(const Activation& x, const Weight* norm, float epsilon, Pooling pooling) {
  const auto n = static_cast<size_t>(x.columns());
  pooled_columns_ = x.columns();
  float* out = pooled_.ensure(std::max<size_t>(1, batch_->sequences.size()) * n);
  std::vector<float> row(n);
  std::vector<double> sum(n);
  for (size_t s = 0; s < batch_->sequences.size(); ++s) {
    const SequenceRows& sequence = batch_->sequences[s];
    const int first = sequence.first_row + (pooling == Pooling::kLast ? sequence.rows - 1 : 0);
    const int count = pooling == Pooling::kMean ? sequence.rows : 1;
    std::fill(sum.begin(), sum.end(), 0.0);
    for (int r = first; r < first + count; ++r) {
      if (norm)
        kernels_.rms_norm_row(cast(x).row(r), cast(*norm).vector(), epsilon, x.columns(), row.data());
      else
        std::copy_n(cast(x).row(r), n, row.data());
      for (size_t i = 0; i < n; ++i) sum[i] += static_cast<double>(row[i]);
    }
    for (size_t i = 0; i < n; ++i) out[s * n + i] = static_cast<float>(sum[i] / count);
  }
}

// ---- Readers

std::span<const float> CpuBackend::read_logits(int output) {
  return {logits_.data() + static_cast<int64_t>(output) * logits_stride_, static_cast<size_t>(vocabulary_)};
}

std::span<const float> CpuBackend::read_pooled(int sequence) {
  const auto n = static_cast<size_t>(pooled_columns_);
  return {pooled_.data() + static_cast<size_t>(sequence) * n, n};
}

void CpuBackend::apply_mask(int output, std::span<const uint32_t> mask) {
  assert(mask.size() >= static_cast<size_t>(vocabulary_ + 31) / 32);
  float* row = logits_.data() + static_cast<int64_t>(output) * logits_stride_;
  for (int t = 0; t < vocabulary_; t += 32) {
    const uint32_t allowed = mask[static_cast<size_t>(t / 32)];
    if (allowed == 0xffffffffu) continue;
    const int count = std::min(32, vocabulary_ - t);
    for (int i = 0; i < count; ++i) {
      if (!(allowed >> i & 1u)) row[t + i] = -std::numeric_limits<float>::infinity();
    }
  }
}

int32_t CpuBackend::argmax(int output) {
  const std::span<const float> row = read_logits(output);
  return static_cast<int32_t>(kernels_.argmax(row.data(), vocabulary_));
}

// One pass: what beats the k-th best so far is gathered, and when the room is full all but the k best are dropped. Ids
// are gathered in ascending order, so a later equal never wins.
void CpuBackend::top_k(int output, int k, std::vector<Candidate>& out) {
  const float* row = read_logits(output).data();
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
  };
  k = std::min(k, vocabulary_);
  out.clear();
  if (k <= 0) return;
  float threshold = -std::numeric_limits<float>::infinity();
  const int room = 4 * k + 256;
  found_.resize(static_cast<size_t>(room));
  for (int64_t at = 0; at < vocabulary_;) {
    int got = 0;
    at = kernels_.find_above(row, at, vocabulary_, threshold, found_.data(), room, &got);
    for (int i = 0; i < got; ++i) out.push_back({found_[static_cast<size_t>(i)], row[found_[static_cast<size_t>(i)]]});
    if (out.size() > static_cast<size_t>(k)) {
      std::nth_element(out.begin(), out.begin() + k - 1, out.end(), better);
      out.resize(static_cast<size_t>(k));
      threshold = out.back().logit;
    }
  }
  std::sort(out.begin(), out.end(), better);
  for (int t = 0; t < vocabulary_ && out.size() < static_cast<size_t>(k);
       ++t) {  // forbidden ones, when there are no others
    if (!(row[t] > -std::numeric_limits<float>::infinity()))
      out.push_back({t, -std::numeric_limits<float>::infinity()});
  }
}

}  // namespace cpu
}  // namespace carronade
