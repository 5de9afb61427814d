// Everything that multiplies by a packed matrix.
#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "backend/cpu/cpu_backend.h"

namespace carronade::cpu {
namespace {

// row = y + bias, or += that.
template <int kCount>
void add_into(const float* y, const float* bias, bool accumulate, float* row) {
  float value[kCount];
  for (int r = 0; r < kCount; ++r) value[r] = bias ? y[r] + bias[r] : y[r];
  for (int r = 0; r < kCount; ++r) row[r] = accumulate ? row[r] + value[r] : value[r];
}

void write_panel(const PanelOutput& part, int64_t outputs, const float* bias, bool accumulate, float* out,
                 int64_t stride) {
  const int64_t at = part.panel * kPanelRows;
  const int width = static_cast<int>(std::min<int64_t>(kPanelRows, outputs - at));
  for (int c = 0; c < part.columns; ++c) {
    const float* y = part.y + kPanelRows * c;
    float* row = out + (part.first + c) * stride + at;
    if (width == kPanelRows) {  // a number that the compiler knows
      add_into<kPanelRows>(y, bias ? bias + at : nullptr, accumulate, row);
    } else {
      for (int r = 0; r < width; ++r) add_into<1>(y + r, bias ? bias + at + r : nullptr, accumulate, row + r);
    }
  }
}

}  // namespace

void CpuBackend::compute_panel(const CpuWeight& weight, int64_t panel, const CpuActivation& in, int first, int columns,
                               int worker, bool unpacked, float* y) {
  const std::byte* data = weight.panel(panel);
  if (runs_on_int8(weight)) {
    const MatmulKernel kernel = kernels_.matmul[static_cast<int>(weight.layout)];
    kernel(data, in.quantized().row(first), columns, y);
    for (int c = 0; c < columns && !in.is_split.empty(); ++c) {
      if (!in.is_split[static_cast<size_t>(first + c)]) continue;
      alignas(64) float rest[kPanelRows];
      kernel(data, in.rests().row(first + c), 1, rest);
      for (int i = 0; i < kPanelRows; ++i) y[kPanelRows * c + i] += rest[i];
    }
    return;
  }
  if (runs_on_bfloat(weight))
    return kernels_.matmul_bfloat(data, in.pair_row(first), in.pair_stride(), weight.columns(), columns, y);
  Layout layout = weight.layout;
  if (is_integer(layout)) {  // float activations: the panel's exact values
    float* values =
        panels_.data() + static_cast<size_t>(worker) * (panels_.size() / static_cast<size_t>(team_.threads()));
    for (int64_t step = 0; !unpacked && step * kStepColumns < weight.columns(); ++step) {
      unpack_step(layout, data, weight.columns(), step, values + step * kStepColumns * kPanelRows);
    }
    data = reinterpret_cast<const std::byte*>(values);
    layout = Layout::kF32;
  }
  const FloatMatmulKernel kernel = kernels_.matmul_float[static_cast<int>(layout) - kIntegerLayouts];
  kernel(data, in.row(first), in.stride, weight.columns(), columns, y);
}

// Calls finish(index of the weight, PanelOutput) for every panel of every weight and every tile of rows.
template <typename Finish>
void CpuBackend::multiply(std::span<const CpuWeight* const> weights, const CpuActivation& in, int rows,
                          Finish&& finish) {
  int64_t panels = 0, widest = 0;
  for (const CpuWeight* weight : weights) {
    assert(weight->columns() == in.columns());
    panels += weight->panels();
    if (!runs_on_int8(*weight) && is_integer(weight->layout)) widest = std::max(widest, weight->columns());
  }
  if (widest > 0)
    panels_.ensure(static_cast<size_t>(team_.threads()) * static_cast<size_t>(whole_groups(widest)) * kPanelRows);
  // A tile of rows stays in L2 while the panels pass by; but unpacking a panel to floats takes longer than multiplying
  // a tile by it, so then all tiles pass by the panel.
  const int64_t tiles = (rows + kernels_.tile_columns - 1) / kernels_.tile_columns,
                at_once = widest > 0 && tiles > 0 ? tiles : 1;
  const int64_t items = tiles / at_once * panels;
  team_.run(items, 1, [&](int64_t begin, int64_t end, int worker) {
    alignas(64) float y[kTileColumns * kPanelRows];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first_tile = item / panels * at_once;
      int64_t panel = item % panels;
      size_t w = 0;
      while (panel >= weights[w]->panels()) panel -= weights[w++]->panels();
      for (int64_t tile = first_tile; tile < first_tile + at_once; ++tile) {
        const int first = static_cast<int>(tile) * kernels_.tile_columns,
                  columns = std::min(kernels_.tile_columns, rows - first);
        compute_panel(*weights[w], panel, in, first, columns, worker, tile > first_tile, y);
        finish(w, PanelOutput{panel, first, columns, y});
      }
    }
  });
}

// `count` counters at 0, until the next call.
std::atomic<int>* CpuBackend::counters(int64_t count) {
  if (static_cast<int64_t>(counters_.size()) < count)
    counters_ = std::vector<std::atomic<int>>(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) counters_[static_cast<size_t>(i)].store(0, std::memory_order_relaxed);
  return counters_.data();
}

void CpuBackend::multiply_into(const CpuWeight& weight, const CpuActivation& in, int rows, const float* bias,
                               bool accumulate, float* out, int64_t stride) {
  const std::array<const CpuWeight*, 1> weights{&weight};
  multiply(weights, in, rows,
           [&](size_t, const PanelOutput& part) { write_panel(part, weight.rows(), bias, accumulate, out, stride); });
}

void CpuBackend::linear(const Activation& in, const Weight& weight, const Weight* bias, bool accumulate,
                        Activation& out) {
  CpuActivation& result = cast(out);
  assert(result.use == ActivationUse::kResidual && weight.rows() == out.columns());
  result.prepare(max_rows_, {.floats = true});
  multiply_into(cast(weight), cast(in), rows(), bias ? cast(*bias).vector() : nullptr, accumulate, result.row(0),
                result.stride);
  add_adapters(weight, cast(in), result.row(0), result.stride);
}

// ---- The gated MLP: each item makes 32 outputs of a tile of rows, or 256. They are rounded by chunks of 256, since a
// chunk's scales hang together (QuantizedRows): of groups of 32 by whichever worker makes a chunk's last.

void CpuBackend::gated_mlp(const Activation& in, const Weight& gate, const Weight& up, GateActivation activation,
                           Activation& out) {
  const CpuActivation& x = cast(in);
  const CpuWeight& g = cast(gate);
  const CpuWeight& u = cast(up);
  CpuActivation& result = cast(out);
  assert(g.rows() == u.rows() && g.rows() == out.columns() && g.columns() == x.columns() && u.columns() == x.columns());
  prepare_operand(result);
  const bool unpacked = is_integer(g.layout) != runs_on_int8(g) || is_integer(u.layout) != runs_on_int8(u);
  if (unpacked || batch_adapts(gate) || batch_adapts(up)) return gated_mlp_apart(x, g, u, activation, result);

  const int n = rows(), most = kernels_.tile_columns;
  const int64_t groups = whole_groups(g.rows()) / kStepColumns, chunks = (groups + kChunkSteps - 1) / kChunkSteps,
                tiles = (n + most - 1) / most;
  const auto activate = activation == GateActivation::kSilu ? kernels_.silu_mul : kernels_.gelu_mul;
  // Chunks are made whole, each by one worker, where there are enough of them for all; else they are shared out by
  // groups (apart).
  const bool apart = tiles == 1 || tiles * chunks < int64_t{16} * team_.threads();
  const int64_t at_once = apart ? 1 : kChunkSteps, items = apart ? groups : chunks;
  const size_t chunk_floats = static_cast<size_t>(most) * kMadeStride;
  float* made = made_.ensure(chunk_floats * static_cast<size_t>(apart ? tiles * chunks : team_.threads()));
  std::atomic<int>* groups_made = apart ? counters(tiles * chunks) : nullptr;

  team_.run(tiles * items, 1, [&](int64_t begin, int64_t end, int worker) {
    alignas(64) float gates[kTileColumns * kPanelRows], ups[kTileColumns * kPanelRows];
    for (int64_t item = begin; item < end; ++item) {
      const int first = static_cast<int>(item / items) * most, columns = std::min(most, n - first);
      const int64_t first_group = item % items * at_once, last_group = std::min(groups, first_group + at_once),
                    chunk_group = first_group / kChunkSteps * kChunkSteps,
                    chunk = item / items * chunks + chunk_group / kChunkSteps;  // of all tiles
      float* rows_made = made + chunk_floats * static_cast<size_t>(apart ? chunk : worker);
      for (int64_t panel = 2 * first_group; panel < std::min(2 * last_group, g.panels()); ++panel) {
        compute_panel(g, panel, x, first, columns, worker, false, gates);
        compute_panel(u, panel, x, first, columns, worker, false, ups);
        activate(gates, ups, kPanelRows * columns);
        float* to = rows_made + kPanelRows * (panel - 2 * chunk_group);
        for (int c = 0; c < columns; ++c) {
          for (int r = 0; r < kPanelRows; ++r) to[kMadeStride * c + r] = gates[kPanelRows * c + r];
        }
      }
      const int64_t chunk_groups = std::min<int64_t>(kChunkSteps, groups - chunk_group);
      if (apart) {  // whoever makes a chunk's last group sees what the others have made
        if (groups_made[chunk].fetch_add(1, std::memory_order_acq_rel) + 1 < chunk_groups) continue;
      }
      const int64_t width = std::min(chunk_groups * kStepColumns, g.rows() - chunk_group * kStepColumns);
      for (int c = 0; c < columns; ++c)
        write_operand(rows_made + kMadeStride * c, width, result, first + c, chunk_group);
    }
  });
}

// The same values in three passes, for adapters, which come between the products and the activation.
void CpuBackend::gated_mlp_apart(const CpuActivation& in, const CpuWeight& gate, const CpuWeight& up,
                                 GateActivation activation, CpuActivation& out) {
  const int64_t stride = out.stride;
  float* gates = gates_.ensure(static_cast<size_t>(max_rows_) * static_cast<size_t>(stride));
  float* ups = ups_.ensure(static_cast<size_t>(max_rows_) * static_cast<size_t>(stride));
  multiply_into(gate, in, rows(), nullptr, false, gates, stride);
  multiply_into(up, in, rows(), nullptr, false, ups, stride);
  add_adapters(gate, in, gates, stride);
  add_adapters(up, in, ups, stride);
  const auto activate = activation == GateActivation::kSilu ? kernels_.silu_mul : kernels_.gelu_mul;
  team_.run(rows(), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      activate(gates + r * stride, ups + r * stride, out.columns());
      write_operand(gates + r * stride, out.columns(), out, r);
    }
  });
}

// ---- Adapters: y += scale * B (A x), in float.

bool CpuBackend::batch_adapts(const Weight& weight) const {
  if (adapters_.empty()) return false;
  return std::any_of(batch_->sequences.begin(), batch_->sequences.end(), [&](const SequenceRows& sequence) {
    return sequence.adapter != kNoAdapter && adapters_.contains({sequence.adapter, &weight});
  });
}

// Rows [first, first + count) of `in`, to rows from out_first on of `out`.
void CpuBackend::add_adapter(const Adapter& adapter, const CpuActivation& in, int first, int count, int out_first,
                             float* out, int64_t stride) {
  const CpuWeight& a = cast(*adapter.a);
  const CpuWeight& b = cast(*adapter.b);
  const int64_t rank = whole_groups(a.rows());
  float* low = low_rank_.ensure(static_cast<size_t>(std::max(max_rows_, max_outputs_)) * static_cast<size_t>(rank));
  const auto kernel = kernels_.matmul_float[static_cast<int>(Layout::kF32) - kIntegerLayouts];
  const auto most = kernels_.tile_columns, tiles = (count + most - 1) / most;
  const auto pass = [&](const CpuWeight& weight, const float* x, int64_t x_stride, auto&& write) {
    assert(weight.layout == Layout::kF32);
    team_.run(tiles * weight.panels(), 1, [&](int64_t begin, int64_t end, int) {
      alignas(64) float y[kTileColumns * kPanelRows];
      for (int64_t item = begin; item < end; ++item) {
        const int row = static_cast<int>(item / weight.panels()) * most, columns = std::min(most, count - row);
        kernel(weight.panel(item % weight.panels()), x + row * x_stride, x_stride, weight.columns(), columns, y);
        write(PanelOutput{item % weight.panels(), row, columns, y});
      }
    });
  };
  pass(a, in.row(first), in.stride,
       [&](const PanelOutput& part) { write_panel(part, a.rows(), nullptr, false, low, rank); });
  pass(b, low, rank, [&](const PanelOutput& part) {
    float scaled[kTileColumns * kPanelRows];
    for (int i = 0; i < kPanelRows * part.columns; ++i) scaled[i] = adapter.scale * part.y[i];
    write_panel({part.panel, part.first, part.columns, scaled}, b.rows(), nullptr, true, out + out_first * stride,
                stride);
  });
}

void CpuBackend::add_adapters(const Weight& weight, const CpuActivation& in, float* out, int64_t stride) {
  if (adapters_.empty()) return;
  for (const SequenceRows& sequence : batch_->sequences) {
    const auto found = adapters_.find({sequence.adapter, &weight});
    if (sequence.adapter == kNoAdapter || found == adapters_.end()) continue;
    add_adapter(found->second, in, sequence.first_row, sequence.rows, sequence.first_row, out, stride);
  }
}

// ---- Logits

void CpuBackend::logits(const Activation& x, const Weight& norm, float epsilon, const Weight& head, float soft_cap) {
  const int count = static_cast<int>(batch_->output_rows.size());
  assert(count <= max_outputs_ && head.rows() == vocabulary_);
  if (count == 0) return;
  if (!normalized_ || normalized_->columns() != x.columns()) {
    normalized_ = std::make_unique<CpuActivation>(x.columns(), ActivationUse::kOperand, memory_in_use_);
  }
  normalized_->prepare(max_outputs_, {.floats = true, .int8 = wanted_.int8, .bfloat = wanted_.bfloat});
  if (wanted_.int8) normalized_->prepare_rests(max_outputs_);
  team_.run(count, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      kernels_.rms_norm_row(cast(x).row(batch_->output_rows[static_cast<size_t>(i)]), cast(norm).vector(), epsilon,
                            x.columns(), normalized_->row(i));
      if (wanted_.int8) round_row(normalized_->row(i), *normalized_, i, worker);
      if (wanted_.bfloat) kernels_.to_bfloat(normalized_->row(i), x.columns(), normalized_->pair_row(i));
    }
  });
  multiply_into(cast(head), *normalized_, count, nullptr, false, logits_.data(), logits_stride_);
  add_logit_adapters(head);
  if (soft_cap != 0.0f) {
    team_.run(count, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin * logits_stride_; i < end * logits_stride_; ++i) {
        logits_.data()[i] = soft_cap * std::tanh(logits_.data()[i] / soft_cap);
      }
    });
  }
}

void CpuBackend::add_logit_adapters(const Weight& head) {
  if (!batch_adapts(head)) return;
  for (const SequenceRows& sequence : batch_->sequences) {
    const auto found = adapters_.find({sequence.adapter, &head});
    if (sequence.adapter == kNoAdapter || found == adapters_.end()) continue;
    const auto& outputs = batch_->output_rows;
    const auto first = std::lower_bound(outputs.begin(), outputs.end(), sequence.first_row);
    const auto last = std::lower_bound(first, outputs.end(), sequence.first_row + sequence.rows);
    const int at = static_cast<int>(first - outputs.begin()), count = static_cast<int>(last - first);
    if (count > 0) add_adapter(found->second, *normalized_, at, count, at, logits_.data(), logits_stride_);
  }
}

// ---- Queries, keys and values (what becomes of a head then is in cpu_attention.cc)

void CpuBackend::project_qkv(const CpuActivation& in, const QkvWeights& weights, const NewHeads& heads) {
  const std::array<const CpuWeight*, 3> matrices{&cast(*weights.q), &cast(*weights.k), &cast(*weights.v)};
  const std::array<const Weight*, 3> biases{weights.q_bias, weights.k_bias, weights.v_bias};
  const int q_heads = heads.shape.heads, kv_heads = heads.shape.kv_heads, dim = heads.shape.head_dim;
  assert(weights.q->rows() == q_heads * dim && weights.k->rows() == kv_heads * dim &&
         weights.v->rows() == kv_heads * dim);
  const std::array<int, 3> first_heads{0, q_heads, q_heads + kv_heads};
  const int all = q_heads + 2 * kv_heads, most = kernels_.tile_columns;
  const int64_t tiles = (rows() + most - 1) / most;
  // A panel then is part of one head, and nothing comes between the product and what is made of it.
  const bool fused = dim % kPanelRows == 0 && std::none_of(matrices.begin(), matrices.end(),
                                                           [&](const CpuWeight* w) { return batch_adapts(*w); });
  const int head_panels = dim / kPanelRows;
  std::atomic<int>* written = fused ? counters(tiles * all) : nullptr;
  multiply(matrices, in, rows(), [&](size_t w, const PanelOutput& part) {
    write_panel(part, matrices[w]->rows(), biases[w] ? cast(*biases[w]).vector() : nullptr, false,
                heads.row(first_heads[w], 0), heads.stride(first_heads[w]));
    if (!fused) return;
    const int head = first_heads[w] + static_cast<int>(part.panel) / head_panels;
    // Whoever counts the last panel sees what the others have written.
    if (written[part.first / most * all + head].fetch_add(1, std::memory_order_acq_rel) + 1 == head_panels)
      finish_head(heads, head, part.first, part.columns);
  });
  if (fused) return;
  for (size_t w = 0; w < 3; ++w)
    add_adapters(*matrices[w], in, heads.row(first_heads[w], 0), heads.stride(first_heads[w]));
  team_.run(tiles * all, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item) {
      const int first = static_cast<int>(item / all) * most;
      finish_head(heads, static_cast<int>(item % all), first, std::min(most, rows() - first));
    }
  });
}

}  // namespace carronade::cpu
