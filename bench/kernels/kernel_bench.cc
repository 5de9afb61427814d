// Kernels of the CPU backend, through its interface, beside this machine's own peaks. What --benchmark_filter takes:
//
//   Bandwidth  reading memory
//   Peak       the instructions the kernels are made of, with operands in registers
//   Linear     a dozen matrices from memory, by type and number of rows
//   Cached     one matrix that the second cache holds, on one thread: its kernel when nothing waits for memory
//   Attention  of all 28 layers of that model, a row of each sequence, by cache form, sequences and context
//   Step       whole steps of a 1.5 B qwen2 model in Q4_K_M, random weights, by number of rows
//   Share      such a step of one row and plain reads of memory in turn: how much of their rate it reaches
//
// $THREADS sets the threads (all by default), $CARRONADE_ISA the instruction set. Weights are several times the last
// cache.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "backend/backend.h"
#include "backend/cpu/isa.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/thread_team.h"
#include "peak.h"

namespace carronade {
namespace {

int threads() {
  const char* text = std::getenv("THREADS");
  return text ? static_cast<int>(std::strtol(text, nullptr, 10)) : 0;
}

// Every byte at most 31: all block factors are small positive float16, all quants are allowed.
std::vector<std::byte> some_blocks(DType dtype, int64_t rows, int64_t columns) {
  std::vector<std::byte> bytes(row_bytes(dtype, columns) * static_cast<size_t>(rows));
  std::minstd_rand random(1);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() >> 8 & 31);
  return bytes;
}

WeightHandle load(Backend& backend, DType dtype, int64_t rows, int64_t columns, WeightUse use = WeightUse::kLinear) {
  if (use == WeightUse::kVector) {
    const std::vector<float> ones(static_cast<size_t>(columns), 0.5f);
    return backend.load_weight({"w", DType::kF32, rows, columns, std::as_bytes(std::span(ones))}, use);
  }
  const auto bytes = some_blocks(dtype, rows, columns);
  return backend.load_weight({"w", dtype, rows, columns, bytes}, use);
}

void report(benchmark::State& state, double bytes, double products, double rows) {
  using benchmark::Counter;
  const auto n = static_cast<double>(state.iterations());
  state.counters["GB/s"] = Counter(bytes * n / 1e9, Counter::kIsRate);
  state.counters["Gop/s"] = Counter(2 * products * n / 1e9, Counter::kIsRate);
  state.counters["rows/s"] = Counter(rows * n, Counter::kIsRate);
}

// Reads half a gigabyte, as plainly as can be, on all threads.
class MemoryReader {
 public:
  static constexpr size_t kBytes = 512u << 20;

  MemoryReader() : team_(threads() > 0 ? threads() : cpu::usable_cpus()), memory_(kBytes) {
    for (size_t i = 0; i < kBytes / 8; ++i) words()[i] = i;
    sums_.resize(static_cast<size_t>(team_.threads()) * 8);
  }

  void read() {
    constexpr size_t kPart = 1u << 20;
    team_.run(kBytes / kPart, 1, [&](int64_t begin, int64_t end, int worker) {
      uint64_t sum[8] = {};
      for (size_t i = static_cast<size_t>(begin) * kPart / 8; i < static_cast<size_t>(end) * kPart / 8; i += 8) {
        for (size_t j = 0; j < 8; ++j) sum[j] += words()[i + j];
      }
      for (size_t j = 0; j < 8; ++j) sums_[static_cast<size_t>(worker) * 8] += sum[j];
    });
    benchmark::DoNotOptimize(sums_.data());
  }

 private:
  uint64_t* words() { return reinterpret_cast<uint64_t*>(memory_.data()); }

  cpu::ThreadTeam team_;
  cpu::HugeMemory memory_;
  std::vector<uint64_t> sums_;
};

void Bandwidth(benchmark::State& state) {
  MemoryReader reader;
  for (auto _ : state) reader.read();
  report(state, MemoryReader::kBytes, 0, 0);
}
BENCHMARK(Bandwidth)->UseRealTime()->Unit(benchmark::kMillisecond);

void run_peak(benchmark::State& state, const Peak& peak) {
  const int count = threads() > 0 ? threads() : cpu::usable_cpus();
  constexpr int64_t kRounds = 1 << 21;
  for (auto _ : state) {  // on threads of their own, whose tiles no kernel has configured
    std::vector<std::thread> team;
    for (int i = 0; i < count; ++i) team.emplace_back([&peak] { peak.run(kRounds); });
    for (std::thread& thread : team) thread.join();
  }
  report(state, 0, peak.operations / 2 * static_cast<double>(kRounds * count), 0);
}

void register_peaks() {
  const char* isa = std::getenv("CARRONADE_ISA");
  for (const Peak& peak : peaks_of(cpu::choose_kernels(isa ? isa : "").name)) {
    benchmark::RegisterBenchmark((std::string("Peak/") + peak.what).c_str(),
                                 [peak](benchmark::State& state) { run_peak(state, peak); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
}

// A batch of `rows` decode rows, each at position `context` of its own sequence.
struct DecodeBatch {
  DecodeBatch(int rows, int context, bool one_sequence) {
    const int sequences = one_sequence ? 1 : rows, each = one_sequence ? rows : 1;
    const int blocks_each = (context + each + kBlockPositions - 1) / kBlockPositions;
    tables.resize(static_cast<size_t>(sequences));
    for (int s = 0; s < sequences; ++s) {
      for (int b = 0; b < blocks_each; ++b) tables[static_cast<size_t>(s)].push_back(blocks++);
      batch.sequences.push_back({batch.rows(), each, context, tables[static_cast<size_t>(s)], kNoAdapter});
      for (int r = 0; r < each; ++r) {
        batch.tokens.push_back(17 * r + s);
        batch.positions.push_back(context + r);
      }
      batch.output_rows.push_back(batch.rows() - 1);
    }
  }
  std::vector<std::vector<BlockId>> tables;
  Batch batch;
  int blocks = 0;
};

// `matrices` of [outputs, 1536], each multiplied `times` times, by as many rows as the state's argument says.
void multiply(benchmark::State& state, DType dtype, int64_t outputs, int matrices, int times, int threads) {
  const int rows = static_cast<int>(state.range(0));
  constexpr int64_t kColumns = 1536;
  const auto backend = make_cpu_backend({.threads = threads, .isa = ""});
  std::vector<WeightHandle> weights;
  for (int i = 0; i < matrices; ++i) weights.push_back(load(*backend, dtype, outputs, kColumns));
  const auto norm = load(*backend, DType::kF32, 1, kColumns, WeightUse::kVector);
  const auto table = load(*backend, DType::kF32, 64, kColumns, WeightUse::kEmbedding);
  const auto x = backend->make_activation(kColumns, ActivationUse::kResidual),
             y = backend->make_activation(static_cast<int>(outputs), ActivationUse::kResidual);
  const auto operand = backend->make_activation(kColumns, ActivationUse::kOperand);
  backend->reserve(rows, 1, 64);
  DecodeBatch decode(rows, 0, true);
  for (int32_t& token : decode.batch.tokens) token %= 64;
  for (auto _ : state) {
    backend->begin_step(decode.batch);
    backend->embed(*table, 1.0f, *x);
    backend->rms_norm(*x, *norm, 1e-6f, false, *operand);
    for (int i = 0; i < times; ++i) {
      for (const auto& weight : weights) backend->linear(*operand, *weight, nullptr, false, *y);
    }
    backend->wait();
  }
  const auto products = static_cast<double>(kColumns * outputs * matrices * times);
  report(state, static_cast<double>(row_bytes(dtype, kColumns)) / kColumns * products, products * rows, rows);
}

void Linear(benchmark::State& state, DType dtype) { multiply(state, dtype, 8960, 12, 1, threads()); }
void Cached(benchmark::State& state, DType dtype) { multiply(state, dtype, 128, 1, 64, 1); }

#define LINEAR(type)                              \
  BENCHMARK_CAPTURE(Linear, type, DType::k##type) \
      ->Arg(1)                                    \
      ->Arg(4)                                    \
      ->Arg(8)                                    \
      ->Arg(16)                                   \
      ->Arg(128)                                  \
      ->UseRealTime()                             \
      ->Unit(benchmark::kMillisecond);            \
  BENCHMARK_CAPTURE(Cached, type, DType::k##type) \
      ->Arg(1)                                    \
      ->Arg(4)                                    \
      ->Arg(8)                                    \
      ->Arg(16)                                   \
      ->Arg(128)                                  \
      ->UseRealTime()                             \
      ->Unit(benchmark::kMillisecond)
LINEAR(Q4_K);
LINEAR(Q6_K);
LINEAR(Q5_K);
LINEAR(Q3_K);
LINEAR(Q2_K);
LINEAR(Q8_0);
LINEAR(Q5_0);
LINEAR(Q5_1);
LINEAR(Q4_0);
LINEAR(Q4_1);
LINEAR(IQ4_NL);
LINEAR(IQ4_XS);
LINEAR(F16);
LINEAR(BF16);

// A cache whose every page is there: pages never written would all be the one page of zeros.
void fill_cache(Backend& backend, const KvLayout& layout, int blocks) {
  std::vector<std::byte> block(block_bytes(layout));
  std::minstd_rand random(2);
  for (std::byte& byte : block) byte = static_cast<std::byte>(random() >> 8 & 31);
  for (BlockId b = 0; b < blocks; ++b) backend.write_blocks({&b, 1}, block);
}

void Attention(benchmark::State& state, DType dtype) {
  constexpr int kLayers = 28, kHeads = 12, kKvHeads = 2, kDim = 128;
  const int sequences = static_cast<int>(state.range(0)), context = static_cast<int>(state.range(1));
  const auto backend = make_cpu_backend({.threads = threads(), .isa = ""});
  DecodeBatch decode(sequences, context, false);
  const auto table = load(*backend, DType::kF32, 64, kHeads * kDim, WeightUse::kEmbedding),
             norm = load(*backend, DType::kF32, 1, kHeads * kDim, WeightUse::kVector);
  const auto q_weight = load(*backend, DType::kQ4_K, kHeads * kDim, kHeads * kDim),
             kv_weight = load(*backend, DType::kQ4_K, kKvHeads * kDim, kHeads * kDim);
  const auto x = backend->make_activation(kHeads * kDim, ActivationUse::kResidual),
             q = backend->make_activation(kHeads * kDim, ActivationUse::kQuery);
  const auto operand = backend->make_activation(kHeads * kDim, ActivationUse::kOperand),
             attended = backend->make_activation(kHeads * kDim, ActivationUse::kOperand);
  backend->reserve(sequences, 1, 64);
  const KvLayout layout{kLayers, kKvHeads, kDim, dtype};
  backend->allocate_kv(layout, decode.blocks);
  fill_cache(*backend, layout, decode.blocks);
  for (int32_t& token : decode.batch.tokens) token %= 64;
  backend->begin_step(decode.batch);
  backend->embed(*table, 1.0f, *x);
  backend->rms_norm(*x, *norm, 1e-6f, false, *operand);
  const AttentionShape shape{kHeads, kKvHeads, kDim};
  for (int layer = 0; layer < kLayers; ++layer) {
    backend->qkv_rope_store(*operand, {.q = q_weight.get(), .k = kv_weight.get(), .v = kv_weight.get()}, shape, Rope{},
                            layer, *q);
  }
  for (auto _ : state) {
    for (int layer = 0; layer < kLayers; ++layer) backend->paged_attention(*q, shape, {}, layer, *attended);
    backend->wait();
  }
  const double seen = static_cast<double>(sequences) * (context + 1) * kLayers;
  report(state, seen * 2 * kKvHeads * static_cast<double>(row_bytes(dtype, kDim)), seen * 2 * kHeads * kDim, sequences);
}
#define ATTENTION(type)                              \
  BENCHMARK_CAPTURE(Attention, type, DType::k##type) \
      ->ArgNames({"sequences", "context"})           \
      ->Args({1, 3500})                              \
      ->Args({4, 160})                               \
      ->Args({4, 1000})                              \
      ->Args({16, 256})                              \
      ->UseRealTime()                                \
      ->Unit(benchmark::kMillisecond)
ATTENTION(F16);
ATTENTION(Q8_0);

// The shapes and types of a 1.5 B qwen2 model in Q4_K_M: 979 MB a token.
class Model {
 public:
  static constexpr int kLayers = 28, kHidden = 1536, kFfn = 8960, kVocabulary = 151936, kMaxRows = 512,
                       kMaxOutputs = 32;
  static constexpr AttentionShape kShape{12, 2, 128};

  explicit Model(int blocks) : backend(make_cpu_backend({.threads = threads(), .isa = ""})) {
    Backend& b = *backend;
    table = load(b, DType::kQ4_K, 1024, kHidden, WeightUse::kEmbedding);
    head = load(b, DType::kQ6_K, kVocabulary, kHidden);
    norm = load(b, DType::kF32, 1, kHidden, WeightUse::kVector);
    q_bias = load(b, DType::kF32, 1, 1536, WeightUse::kVector);
    kv_bias = load(b, DType::kF32, 1, 256, WeightUse::kVector);
    for (int i = 0; i < kLayers; ++i) {
      const DType more = i % 2 ? DType::kQ6_K : DType::kQ4_K;  // Q4_K_M keeps half of the v and down matrices in Q6_K
      layers.push_back({load(b, DType::kQ4_K, 1536, kHidden), load(b, DType::kQ4_K, 256, kHidden),
                        load(b, more, 256, kHidden), load(b, DType::kQ4_K, kHidden, 1536),
                        load(b, DType::kQ4_K, kFfn, kHidden), load(b, DType::kQ4_K, kFfn, kHidden),
                        load(b, more, kHidden, kFfn)});
    }
    x = b.make_activation(kHidden, ActivationUse::kResidual);
    normed = b.make_activation(kHidden, ActivationUse::kOperand);
    q = b.make_activation(1536, ActivationUse::kQuery);
    attended = b.make_activation(1536, ActivationUse::kOperand);
    ffn = b.make_activation(kFfn, ActivationUse::kOperand);
    b.reserve(kMaxRows, kMaxOutputs, kVocabulary);
    const KvLayout layout{kLayers, 2, 128, DType::kF16};
    b.allocate_kv(layout, blocks);
    fill_cache(b, layout, blocks);
  }

  void step(const Batch& batch) {
    Backend& b = *backend;
    b.begin_step(batch);
    b.embed(*table, 1.0f, *x);
    Rope rope;
    rope.dimensions = 128;
    for (int i = 0; i < kLayers; ++i) {
      const Layer& l = layers[static_cast<size_t>(i)];
      b.rms_norm(*x, *norm, 1e-6f, false, *normed);
      b.qkv_rope_store(*normed,
                       {.q = l.q.get(),
                        .k = l.k.get(),
                        .v = l.v.get(),
                        .q_bias = q_bias.get(),
                        .k_bias = kv_bias.get(),
                        .v_bias = kv_bias.get()},
                       kShape, rope, i, *q);
      if (i + 1 == kLayers) b.keep_output_rows(*x, *q);
      b.paged_attention(*q, kShape, {}, i, *attended);
      b.linear(*attended, *l.o, nullptr, true, *x);
      b.rms_norm(*x, *norm, 1e-6f, false, *normed);
      b.gated_mlp(*normed, *l.gate, *l.up, GateActivation::kSilu, *ffn);
      b.linear(*ffn, *l.down, nullptr, true, *x);
    }
    b.logits(*x, *norm, 1e-6f, *head, 0.0f);
    b.wait();
    for (size_t i = 0; i < batch.output_rows.size(); ++i) benchmark::DoNotOptimize(b.argmax(static_cast<int>(i)));
  }

  struct Layer {
    WeightHandle q, k, v, o, gate, up, down;
  };
  std::unique_ptr<Backend> backend;
  WeightHandle table, head, norm, q_bias, kv_bias;
  std::vector<Layer> layers;
  ActivationHandle x, normed, q, attended, ffn;
};

constexpr double kStepBytes = 979e6;  // of weights

Model& shared_model() {
  static Model model(512);
  return model;
}

void Step(benchmark::State& state, bool prefill) {
  const int rows = static_cast<int>(state.range(0)), context = static_cast<int>(state.range(1));
  Model& model = shared_model();
  DecodeBatch decode(rows, context, prefill);
  for (int32_t& token : decode.batch.tokens) token %= 1024;
  for (auto _ : state) model.step(decode.batch);
  const double qkv = 1536.0 * (1536 + 256 + 256), rest = 1536.0 * (1536 + 3 * 8960), head = 1536.0 * 151936;
  const auto outputs = static_cast<double>(decode.batch.output_rows.size());
  report(state, kStepBytes, (28 * qkv + 27 * rest) * rows + (rest + head) * outputs, rows);
}
BENCHMARK_CAPTURE(Step, Decode, false)
    ->ArgNames({"rows", "context"})
    ->Args({1, 16})
    ->Args({1, 3500})
    ->Args({4, 16})
    ->Args({8, 16})
    ->Args({16, 16})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond)
    ->MinTime(2);
BENCHMARK_CAPTURE(Step, Prefill, true)
    ->ArgNames({"rows", "context"})
    ->Args({128, 0})
    ->Args({512, 0})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// Steps of one row and plain reads of memory in turn: what share of the rate of the reads before and after it a step
// takes its weights at, in the median. Memory that is shared with strangers changes its rate from second to second.
void Share(benchmark::State& state) {
  Model& model = shared_model();
  static MemoryReader reader;
  DecodeBatch decode(1, static_cast<int>(state.range(0)), false);
  decode.batch.tokens[0] %= 1024;
  const auto rate = [](double bytes, auto&& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return bytes / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const auto read = [&] { return rate(static_cast<double>(MemoryReader::kBytes), [] { reader.read(); }); };
  std::vector<double> shares, steps;
  double before = read();
  for (auto _ : state) {
    steps.push_back(rate(kStepBytes, [&] { model.step(decode.batch); }));
    state.SetIterationTime(kStepBytes / steps.back());
    const double after = read();
    shares.push_back(2 * steps.back() / (before + after));
    before = after;
  }
  const auto median = [](std::vector<double>& values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  };
  state.counters["GB/s"] = median(steps) / 1e9;
  state.counters["of reads, %"] = 100 * median(shares);
}
BENCHMARK(Share)->ArgName("context")->Arg(16)->Arg(3500)->UseManualTime()->Unit(benchmark::kMillisecond)->MinTime(2);

}  // namespace
}  // namespace carronade

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  carronade::register_peaks();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
