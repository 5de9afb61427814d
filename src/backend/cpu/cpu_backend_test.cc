// The CPU backend through its interface: against the reference backend, and against itself under other chunkings,
// company and threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>

#include "backend/backend.h"
#include "backend/cpu/testing.h"
#include "base/error.h"

namespace carronade {
namespace {

using cpu::random_floats;

constexpr int kHidden = 256, kFfn = 288, kVocabulary = 1003, kLayers = 2, kMaxRows = 400, kMaxOutputs = 8, kBlocks = 64;
constexpr AttentionShape kShape{4, 2, 64};

std::vector<std::byte> blocks_of(DType dtype, int64_t rows, int64_t columns, uint32_t seed, float deviation) {
  const std::vector<float> values = random_floats(static_cast<size_t>(rows * columns), seed, deviation);
  std::vector<std::byte> bytes(row_bytes(dtype, columns) * static_cast<size_t>(rows));
  quantize(dtype, values.data(), bytes.data(), rows * columns);
  return bytes;
}

// A small random transformer over whatever backend it is given; weights depend on the seed and types alone.
class Transformer {
 public:
  Transformer(Backend& backend, DType wide, DType narrow, KvLayout kv = {kLayers, 2, 64, DType::kF16},
              WeightUse table = WeightUse::kTied)
      : backend_(backend) {
    const int ffn = info(narrow).block_elements == 256 ? 512 : kFfn;
    table_ = load("table", wide, kVocabulary, kHidden, table, 1.0f);
    if (table != WeightUse::kTied) head_ = load("head", wide, kVocabulary, kHidden, WeightUse::kLinear, 0.1f);
    for (int layer = 0; layer < kLayers; ++layer) {
      Layer l;
      l.norm = load("norm", DType::kF32, 1, kHidden, WeightUse::kVector, 1.0f);
      l.q = load("q", wide, 256, kHidden, WeightUse::kLinear, 0.08f);
      l.k = load("k", wide, 128, kHidden, WeightUse::kLinear, 0.08f);
      l.v = load("v", wide, 128, kHidden, WeightUse::kLinear, 0.08f);
      l.q_bias = load("q_bias", DType::kF32, 1, 256, WeightUse::kVector, 0.3f);
      l.k_norm = load("k_norm", DType::kF32, 1, 64, WeightUse::kVector, 1.0f);
      l.o = load("o", wide, kHidden, 256, WeightUse::kLinear, 0.06f);
      l.ffn_norm = load("ffn_norm", DType::kF32, 1, kHidden, WeightUse::kVector, 1.0f);
      l.gate = load("gate", wide, ffn, kHidden, WeightUse::kLinear, 0.06f);
      l.up = load("up", wide, ffn, kHidden, WeightUse::kLinear, 0.06f);
      l.down = load("down", narrow, kHidden, ffn, WeightUse::kLinear, 0.06f);
      layers_.push_back(std::move(l));
    }
    out_norm_ = load("out_norm", DType::kF32, 1, kHidden, WeightUse::kVector, 1.0f);
    x_ = backend.make_activation(kHidden, ActivationUse::kResidual);
    normed_ = backend.make_activation(kHidden, ActivationUse::kOperand);
    q_ = backend.make_activation(256, ActivationUse::kQuery);
    attended_ = backend.make_activation(256, ActivationUse::kOperand);
    ffn_ = backend.make_activation(ffn, ActivationUse::kOperand);
    backend.reserve(kMaxRows, kMaxOutputs, kVocabulary);
    backend.allocate_kv(kv, kBlocks);
  }

  void forward(const Batch& batch) {
    Backend& b = backend_;
    b.begin_step(batch);
    b.embed(*table_, 1.5f, *x_);
    for (int i = 0; i < kLayers; ++i) {
      const Layer& l = layers_[static_cast<size_t>(i)];
      b.rms_norm(*x_, *l.norm, 1e-6f, false, *normed_);
      QkvWeights qkv{l.q.get(), l.k.get(), l.v.get(), l.q_bias.get(), nullptr, nullptr, nullptr, l.k_norm.get(), 1e-6f};
      Rope rope;
      rope.dimensions = 48;
      rope.pairing = i ? Rope::Pairing::kNeighbours : Rope::Pairing::kHalves;
      b.qkv_rope_store(*normed_, qkv, kShape, rope, i, *q_);
      if (outputs_only && i + 1 == kLayers) b.keep_output_rows(*x_, *q_);
      b.paged_attention(*q_, kShape, attention, i, *attended_);
      b.linear(*attended_, *l.o, nullptr, true, *x_);
      b.rms_norm(*x_, *l.ffn_norm, 1e-6f, false, *normed_);
      b.gated_mlp(*normed_, *l.gate, *l.up, i ? GateActivation::kGelu : GateActivation::kSilu, *ffn_);
      b.linear(*ffn_, *l.down, l.norm.get(), true, *x_);
    }
    b.logits(*x_, *out_norm_, 1e-6f, head_ ? *head_ : *table_, 30.0f);
    b.wait();
  }

  // Two low-rank pairs, one of them on a gate.
  void load_adapter(int adapter) {
    for (const Weight* target : {layers_[0].q.get(), layers_[1].gate.get(), layers_[1].down.get()}) {
      const auto a = blocks_of(DType::kF32, 5, target->columns(), 77, 0.1f),
                 b = blocks_of(DType::kF16, target->rows(), 5, 78, 0.1f);
      backend_.load_adapter(adapter, *target, {"a", DType::kF32, 5, target->columns(), a},
                            {"b", DType::kF16, target->rows(), 5, b}, 0.7f);
    }
  }

  AttentionOptions attention;
  bool outputs_only = true;  // in the last layer
  Activation& residual() { return *x_; }
  const Weight& out_norm() { return *out_norm_; }

 private:
  struct Layer {
    WeightHandle norm, q, k, v, q_bias, k_norm, o, ffn_norm, gate, up, down;
  };
  WeightHandle load(std::string_view name, DType dtype, int64_t rows, int64_t columns, WeightUse use, float deviation) {
    const auto bytes = blocks_of(dtype, rows, columns, ++seed_, deviation);
    return backend_.load_weight({name, dtype, rows, columns, bytes}, use);
  }
  Backend& backend_;
  uint32_t seed_ = 1;
  WeightHandle table_, head_, out_norm_;
  std::vector<Layer> layers_;
  ActivationHandle x_, normed_, q_, attended_, ffn_;
};

// A conversation: a fixed list of tokens, stored in blocks of its own.
struct Conversation {
  Conversation(int number, int length, int adapter = kNoAdapter) : adapter(adapter) {
    for (int i = 0; i < length; ++i) tokens.push_back((i * 37 + number * 101 + i * i) % kVocabulary);
    for (int i = 0; i < (length + 15) / 16; ++i) blocks.push_back((number * 21 + i * 5) % kBlocks);  // scattered
  }
  std::vector<int32_t> tokens;
  std::vector<BlockId> blocks;
  int adapter;
};

struct Chunk {
  const Conversation* conversation;
  int first, count;
};

// A batch of chunks; the last row of each wants logits.
Batch batch_of(const std::vector<Chunk>& chunks) {
  Batch batch;
  for (const Chunk& chunk : chunks) {
    batch.sequences.push_back(
        {batch.rows(), chunk.count, chunk.first, chunk.conversation->blocks, chunk.conversation->adapter});
    for (int i = chunk.first; i < chunk.first + chunk.count; ++i) {
      batch.tokens.push_back(chunk.conversation->tokens[static_cast<size_t>(i)]);
      batch.positions.push_back(i);
    }
    batch.output_rows.push_back(batch.rows() - 1);
  }
  return batch;
}

std::vector<float> logits_of(Transformer& model, Backend& backend, const std::vector<Chunk>& chunks, int output = 0) {
  const Batch batch = batch_of(chunks);
  model.forward(batch);
  const auto row = backend.read_logits(output);
  return {row.begin(), row.end()};
}

double worst_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i)
    worst = std::max(worst, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return worst;
}
double deviation(const std::vector<float>& a) {
  double squares = 0;
  for (const float value : a) squares += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(squares / static_cast<double>(a.size()));
}

class CpuBackendTest : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Backend> make(int threads = 2, bool float_activations = false) {
    return make_cpu_backend({.threads = threads, .isa = GetParam(), .float_activations = float_activations});
  }
};
INSTANTIATE_TEST_SUITE_P(Isas, CpuBackendTest, testing::ValuesIn(available_isas()),
                         [](const auto& p) { return p.param; });

const std::vector<std::pair<DType, DType>> kTypes = {
    {DType::kF32, DType::kF32},   {DType::kF16, DType::kBF16},  {DType::kQ8_0, DType::kQ5_0},
    {DType::kQ4_K, DType::kQ5_1}, {DType::kQ6_K, DType::kQ8_0}, {DType::kQ5_K, DType::kF16},
    {DType::kQ4_1, DType::kQ4_0}, {DType::kBF16, DType::kBF16}, {DType::kQ4_K, DType::kBF16},
    {DType::kQ4_K, DType::kQ6_K}, {DType::kQ5_K, DType::kQ4_K}};

TEST_P(CpuBackendTest, FloatActivationsGiveTheReferencesLogits) {
  const Conversation talk(1, 40);
  for (const auto& [wide, narrow] : kTypes) {
    SCOPED_TRACE(testing::Message() << info(wide).name << ' ' << info(narrow).name);
    const auto reference = make_reference_backend(BackendOptions{}), backend = make(2, true);
    Transformer expected(*reference, wide, narrow), model(*backend, wide, narrow);
    EXPECT_LT(worst_difference(logits_of(expected, *reference, {{&talk, 0, 39}}),
                               logits_of(model, *backend, {{&talk, 0, 39}})),
              2e-3);
    EXPECT_LT(worst_difference(logits_of(expected, *reference, {{&talk, 39, 1}}),
                               logits_of(model, *backend, {{&talk, 39, 1}})),
              2e-3);
  }
}

TEST_P(CpuBackendTest, FloatWeightsAreHeldAsAsked) {
  const Conversation talk(1, 20);
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const auto backend = make();
    const auto converting = make_cpu_backend({.threads = 2, .isa = GetParam(), .float_weights = dtype});
    Transformer model(*backend, dtype, dtype), converted(*converting, DType::kF32, DType::kF32);
    EXPECT_EQ(backend->memory_in_use(), converting->memory_in_use());
    EXPECT_EQ(logits_of(model, *backend, {{&talk, 0, 20}}), logits_of(converted, *converting, {{&talk, 0, 20}}));
  }
  const std::vector<float> large(64, 1e6f);
  const auto backend = make_cpu_backend({.isa = GetParam(), .float_weights = DType::kF16});
  const WeightSource source{"large", DType::kF32, 1, 64, std::as_bytes(std::span(large))};
  EXPECT_THROW(backend->load_weight(source, WeightUse::kLinear), Error);
  EXPECT_NO_THROW(backend->load_weight(source, WeightUse::kVector));  // norms and biases stay float
}

TEST_P(CpuBackendTest, Int8ActivationsStayCloseToTheReference) {
  const Conversation talk(1, 40);
  for (const auto& [wide, narrow] : kTypes) {
    SCOPED_TRACE(testing::Message() << info(wide).name << ' ' << info(narrow).name);
    const auto reference = make_reference_backend(BackendOptions{}), backend = make();
    Transformer expected(*reference, wide, narrow, {kLayers, 2, 64, DType::kF16}, WeightUse::kEmbedding);
    Transformer model(*backend, wide, narrow, {kLayers, 2, 64, DType::kF16}, WeightUse::kEmbedding);
    const auto exact = logits_of(expected, *reference, {{&talk, 0, 40}}),
               got = logits_of(model, *backend, {{&talk, 0, 40}});
    EXPECT_LT(worst_difference(exact, got),
              0.1 * deviation(exact));  // rounding to 1/127 of a group's largest, through two layers
  }
}

TEST_P(CpuBackendTest, AttentionOptionsMatchTheReference) {
  const Conversation talk(1, 300), other(2, 30);
  for (const DType kv : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    for (const AttentionOptions& options :
         {AttentionOptions{}, AttentionOptions{.window = 100}, AttentionOptions{.soft_cap = 2.0f},
          AttentionOptions{.mask = AttentionMask::kBidirectional, .scale = 0.2f}}) {
      SCOPED_TRACE(testing::Message() << info(kv).name << " window " << options.window << " cap " << options.soft_cap);
      const auto reference = make_reference_backend(BackendOptions{}), backend = make(2, true);
      // In Q8_0 each backend rounds in its own way, so there the exact answer is the measure.
      const KvLayout layout{kLayers, 2, 64, kv}, exact{kLayers, 2, 64, kv == DType::kQ8_0 ? DType::kF32 : kv};
      Transformer expected(*reference, DType::kF32, DType::kF32, exact),
          model(*backend, DType::kF32, DType::kF32, layout);
      expected.attention = model.attention = options;
      // Positions around a split's border.
      const double tolerance = kv == DType::kQ8_0 ? 0.25 : kv == DType::kF16 ? 5e-3 : 5e-4;
      for (const auto& chunks : {std::vector<Chunk>{{&talk, 0, 255}},
                                 {{&other, 0, 30}, {&talk, 255, 3}},
                                 {{&talk, 258, 1}},
                                 {{&talk, 259, 41}}}) {
        const int last = static_cast<int>(chunks.size()) - 1;
        EXPECT_LT(
            worst_difference(logits_of(expected, *reference, chunks, last), logits_of(model, *backend, chunks, last)),
            tolerance);
      }
    }
  }
}

// In company of every kind: one output of many rows, several, all, none, with an adapter and without, windows.
TEST_P(CpuBackendTest, OutputRowsAloneGiveTheSameBits) {
  const Conversation talk(1, 120), other(2, 40), adapted(3, 30, 5), quiet(4, 20, 5);
  Batch batch = batch_of({{&talk, 0, 120}, {&quiet, 0, 20}, {&adapted, 0, 29}, {&other, 0, 39}});
  batch.output_rows = {117, 118, 119, 168};
  Batch next = batch_of({{&talk, 118, 2}, {&adapted, 29, 1}, {&quiet, 3, 17}, {&other, 39, 1}});
  next.output_rows = {0, 1, 2, 20};  // beside an adapter's rows that want nothing
  Batch scattered = batch;           // not the last rows of their sequence: all rows stay
  scattered.output_rows = {3, 119};
  for (const auto& [wide, narrow] : kTypes) {
    SCOPED_TRACE(testing::Message() << info(wide).name << ' ' << info(narrow).name);
    const auto backend = make();
    Transformer model(*backend, wide, narrow);
    model.load_adapter(5);
    for (const AttentionOptions& options : {AttentionOptions{}, AttentionOptions{.window = 10},
                                            AttentionOptions{.mask = AttentionMask::kBidirectional}}) {
      model.attention = options;
      for (const Batch* each : {&batch, &next, &scattered}) {
        std::vector<std::vector<float>> logits[2];
        for (const bool outputs_only : {false, true}) {
          model.outputs_only = outputs_only;
          model.forward(*each);
          for (size_t i = 0; i < each->output_rows.size(); ++i) {
            const auto row = backend->read_logits(static_cast<int>(i));
            logits[outputs_only ? 1 : 0].emplace_back(row.begin(), row.end());
          }
        }
        EXPECT_EQ(logits[0], logits[1]);
      }
    }
  }
}

TEST(OutputRows, AreABatchOfTheirOwnWhereTheyAreTheLastOfTheirSequences) {
  const Conversation talk(1, 40), other(2, 10);
  const auto alone_of = [](const Batch& batch) {
    Batch alone;
    return output_rows_alone(batch, alone) ? std::optional(alone) : std::nullopt;
  };
  Batch batch = batch_of({{&talk, 20, 20}, {&other, 0, 10}});
  const auto last = alone_of(batch);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->tokens, (std::vector<int32_t>{talk.tokens[39], other.tokens[9]}));
  EXPECT_EQ(last->positions, (std::vector<int32_t>{39, 9}));
  EXPECT_EQ(last->output_rows, (std::vector<int32_t>{0, 1}));
  ASSERT_EQ(last->sequences.size(), 2u);
  EXPECT_EQ(last->sequences[1].first_row, 1);
  EXPECT_EQ(last->sequences[1].first_position, 9);
  EXPECT_EQ(last->sequences[1].block_table.data(), other.blocks.data());
  EXPECT_FALSE(alone_of(*last)) << "there are no others";
  batch.output_rows = {28, 29};
  EXPECT_EQ(alone_of(batch)->sequences.size(), 1u);
  batch.output_rows = {};
  EXPECT_EQ(alone_of(batch)->rows(), 0);
  for (const std::vector<int32_t>& others : {std::vector<int32_t>{0}, {18, 29}, {17, 19, 29}}) {
    batch.output_rows = others;
    EXPECT_FALSE(alone_of(batch));
  }
}

TEST_P(CpuBackendTest, AStepThatWantsNoOutputStoresItsKeys) {
  const Conversation talk(1, 120);
  const auto backend = make();
  Transformer model(*backend, DType::kQ4_K, DType::kQ5_1);
  Batch first = batch_of({{&talk, 0, 119}});
  first.output_rows.clear();
  model.forward(first);
  const auto apart = logits_of(model, *backend, {{&talk, 119, 1}});
  EXPECT_EQ(apart, logits_of(model, *backend, {{&talk, 0, 120}}));
}

// One rule: the same bits whatever the chunks, the company and the threads.
TEST_P(CpuBackendTest, ALoadedMachineGivesTheSameBits) {
  const Conversation talk(1, 330), other(3, 130);
  for (const auto& [wide, narrow] : kTypes) {
    SCOPED_TRACE(testing::Message() << info(wide).name << ' ' << info(narrow).name);
    std::map<DType, std::vector<float>> of_kv;
    for (const auto& [threads, kv] :
         {std::pair{1, DType::kF16}, {2, DType::kF16}, {5, DType::kF16}, {1, DType::kQ8_0}, {3, DType::kQ8_0}}) {
      const auto backend = make(threads);
      Transformer model(*backend, wide, narrow, {kLayers, 2, 64, kv});
      const auto whole = logits_of(model, *backend, {{&talk, 0, 330}});
      const std::vector<float>& expected = of_kv.emplace(kv, whole).first->second;
      ASSERT_EQ(whole, expected) << threads << " threads";
      int done = 0;
      std::vector<float> last;
      int beside = 0;
      for (const int count : {1, 2, 33, 64, 5, 150, 40, 30, 3, 1, 1}) {
        std::vector<Chunk> chunks = {{&talk, done, count}};
        if (beside < 130) chunks.insert(chunks.begin(), {&other, beside, 26});
        beside += 26;
        last = logits_of(model, *backend, chunks, static_cast<int>(chunks.size()) - 1);
        done += count;
      }
      ASSERT_EQ(done, 330);
      ASSERT_EQ(last, expected) << threads << " threads, in chunks";
    }
  }
}

TEST_P(CpuBackendTest, ARowIsTheSameBitsInEveryBatchOfUpTo130) {
  const Conversation talk(1, 1), other(3, 129);
  for (const auto& [wide, narrow] : kTypes) {
    SCOPED_TRACE(testing::Message() << info(wide).name << ' ' << info(narrow).name);
    const auto backend = make();
    Transformer model(*backend, wide, narrow, {kLayers, 2, 64, DType::kF16});
    const auto alone = logits_of(model, *backend, {{&talk, 0, 1}});
    const int step = GetParam() == "generic" ? 16 : 1;  // its kernels take two columns at a time, and their time
    for (int others = 1; others < 130; others += step) {
      const bool first = others % 2 == 0;
      std::vector<Chunk> chunks = {{&other, 0, others}};
      chunks.insert(first ? chunks.begin() : chunks.end(), {&talk, 0, 1});
      ASSERT_EQ(logits_of(model, *backend, chunks, first ? 0 : 1), alone) << others << " others";
    }
  }
}

TEST_P(CpuBackendTest, AdaptersChangeTheirRowsAsTheReferenceDoesAndNoOthers) {
  const Conversation plain(1, 20), adapted(2, 20, 4);
  const std::vector<Chunk> both = {{&adapted, 0, 20}, {&plain, 0, 20}};
  for (const auto& [wide, narrow] :
       {std::pair{DType::kQ8_0, DType::kF32}, {DType::kQ8_0, DType::kQ8_0}, {DType::kBF16, DType::kBF16}}) {
    SCOPED_TRACE(testing::Message() << info(wide).name << ' ' << info(narrow).name);
    const auto reference = make_reference_backend(BackendOptions{}), backend = make(2, true), rounding = make();
    Transformer expected(*reference, wide, narrow), model(*backend, wide, narrow), rounded(*rounding, wide, narrow);
    const auto before = logits_of(rounded, *rounding, {{&plain, 0, 20}}),
               without = logits_of(rounded, *rounding, {{&adapted, 0, 20}});
    expected.load_adapter(4);
    model.load_adapter(4);
    rounded.load_adapter(4);
    const auto exact = logits_of(expected, *reference, both);
    EXPECT_LT(worst_difference(exact, logits_of(model, *backend, both)), 2e-3);
    EXPECT_LT(worst_difference(exact, logits_of(rounded, *rounding, both)), 0.1 * deviation(exact));
    EXPECT_GT(worst_difference(without, logits_of(rounded, *rounding, both)), 0.1 * deviation(exact));
    EXPECT_EQ(logits_of(rounded, *rounding, both, 1), before);
    rounding->drop_adapter(4);
    EXPECT_EQ(logits_of(rounded, *rounding, both), without);
  }
}

TEST_P(CpuBackendTest, AdaptersStayFloatWhateverWeightsAreHeldAs) {
  const Conversation plain(1, 20), adapted(2, 20, 4);
  const std::vector<Chunk> both = {{&adapted, 0, 20}, {&plain, 0, 20}};
  const auto reference = make_reference_backend(BackendOptions{});
  Transformer expected(*reference, DType::kF32, DType::kF32);
  expected.load_adapter(4);
  const auto exact = logits_of(expected, *reference, both);
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    SCOPED_TRACE(info(dtype).name);
    const auto backend = make_cpu_backend({.threads = 2, .isa = GetParam(), .float_weights = dtype});
    Transformer model(*backend, DType::kF32, DType::kF32);
    const auto before = logits_of(model, *backend, {{&plain, 0, 20}});
    model.load_adapter(4);
    EXPECT_LT(worst_difference(exact, logits_of(model, *backend, both)), 0.1 * deviation(exact));
    EXPECT_EQ(logits_of(model, *backend, both, 1), before);
  }
}

TEST_P(CpuBackendTest, ReadersAgreeWithTheReference) {
  const Conversation talk(1, 20), other(2, 9);
  const auto reference = make_reference_backend(BackendOptions{}), backend = make(2, true);
  Transformer expected(*reference, DType::kF32, DType::kF32), model(*backend, DType::kF32, DType::kF32);
  const Batch batch = batch_of({{&talk, 0, 20}, {&other, 0, 9}});
  expected.forward(batch);
  model.forward(batch);
  for (const Pooling pooling : {Pooling::kLast, Pooling::kMean, Pooling::kFirst}) {
    for (const bool normed : {false, true}) {
      reference->pooled(expected.residual(), normed ? &expected.out_norm() : nullptr, 1e-6f, pooling);
      backend->pooled(model.residual(), normed ? &model.out_norm() : nullptr, 1e-6f, pooling);
      for (int s = 0; s < 2; ++s) {
        const auto a = reference->read_pooled(s), b = backend->read_pooled(s);
        EXPECT_LT(worst_difference({a.begin(), a.end()}, {b.begin(), b.end()}), 1e-3);
      }
    }
  }
  const auto row = backend->read_logits(1);
  std::vector<int32_t> order(kVocabulary);
  for (int i = 0; i < kVocabulary; ++i) order[static_cast<size_t>(i)] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)]; });
  EXPECT_EQ(backend->argmax(1), order[0]);
  std::vector<Candidate> best;
  for (const int k : {0, 1, 2, 40, 500, kVocabulary, 5000}) {
    backend->top_k(1, k, best);
    ASSERT_EQ(best.size(), static_cast<size_t>(std::min(k, kVocabulary)));
    for (size_t i = 0; i < best.size(); ++i) {
      ASSERT_EQ(best[i].token, order[i]) << k;
      ASSERT_EQ(best[i].logit, row[static_cast<size_t>(order[i])]);
    }
  }
  // Forbid all but two.
  std::vector<uint32_t> mask((kVocabulary + 31) / 32);
  mask[0] = 1u << 7;
  mask[31] = 1u << 10;  // token 1002, the last
  backend->apply_mask(1, mask);
  backend->top_k(1, 3, best);
  ASSERT_EQ(best.size(), 3u);
  EXPECT_EQ((std::vector<int>{std::min(best[0].token, best[1].token), std::max(best[0].token, best[1].token)}),
            (std::vector<int>{7, 1002}));
  EXPECT_EQ(best[2].token, 0);
  EXPECT_TRUE(std::isinf(best[2].logit));
  EXPECT_EQ(backend->argmax(1), best[0].token);
}

TEST_P(CpuBackendTest, BlocksCanBeCopiedAndCarriedToAnotherBackend) {
  Conversation talk(1, 50);
  const auto backend = make(), twin = make();
  Transformer model(*backend, DType::kQ8_0, DType::kQ8_0), copy(*twin, DType::kQ8_0, DType::kQ8_0);
  const auto expected = logits_of(model, *backend, {{&talk, 0, 50}});
  logits_of(model, *backend, {{&talk, 0, 49}});
  std::vector<std::byte> bytes(talk.blocks.size() * block_bytes({kLayers, 2, 64, DType::kF16}));
  backend->read_blocks(talk.blocks, bytes);
  Conversation moved = talk;
  moved.blocks = {60, 2, 31, 7};
  twin->write_blocks(moved.blocks, bytes);
  EXPECT_EQ(logits_of(copy, *twin, {{&moved, 49, 1}}), expected);
  Conversation copied = moved;
  copied.blocks = {60, 2, 31, 9};
  twin->copy_blocks(std::vector<BlockCopy>{{7, 9}});
  EXPECT_EQ(logits_of(copy, *twin, {{&copied, 49, 1}}), expected);
}

TEST_P(CpuBackendTest, MemoryIsCountedAndGivenBack) {
  const auto backend = make();
  const uint64_t before = backend->memory_in_use();
  {
    const auto bytes = blocks_of(DType::kQ8_0, 512, 256, 1, 1.0f);
    const auto weight = backend->load_weight({"w", DType::kQ8_0, 512, 256, bytes}, WeightUse::kLinear);
    EXPECT_GE(backend->memory_in_use(), before + bytes.size());
  }
  EXPECT_EQ(backend->memory_in_use(), before);
  EXPECT_EQ(backend->device().variant, GetParam());
}

TEST_P(CpuBackendTest, AWeightThatDoesNotFitItsBytesIsRefused) {
  const auto backend = make();
  const std::vector<std::byte> bytes(100);
  EXPECT_THROW(backend->load_weight({"w", DType::kQ8_0, 1, 32, bytes}, WeightUse::kLinear), Error);
  EXPECT_THROW(backend->load_weight({"w", DType::kQ4_K, 1, 100, bytes}, WeightUse::kLinear), Error);
  EXPECT_THROW(backend->allocate_kv({1, 1, 64, DType::kQ4_0}, 1), Error);
  EXPECT_THROW(backend->allocate_kv({1, 1, 48, DType::kQ8_0}, 1), Error);
}

TEST(CpuIsa, AnUnknownInstructionSetIsAnErrorThatNamesTheKnown) {
  try {
    make_cpu_backend({.threads = 1, .isa = "avx3"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("generic"), std::string::npos) << error.what();
  }
}

TEST(CpuThreads, FarMoreThanThereAreProcessorsAreRefused) {
  for (const int threads : {-1, 20000}) {
    try {
      make_cpu_backend({.threads = threads, .isa = ""});
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
      EXPECT_EQ(error.param, "threads");
    }
  }
}

TEST(CpuIsa, OneThatTheProcessorLacksIsUnsupported) {
  const auto available = available_isas();
  ASSERT_FALSE(available.empty());
  EXPECT_EQ(available.back(), "generic");
  for (const cpu::Isa& isa : cpu::known_isas()) {
    if (std::find(available.begin(), available.end(), isa.name) != available.end()) continue;
    try {
      make_cpu_backend({.threads = 1, .isa = isa.name});
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kUnsupported);
    }
  }
}

TEST(CpuIsa, TheEnvironmentForcesOneUnlessTheOptionsDo) {
  const char* before = std::getenv("CARRONADE_ISA");
  const std::string saved = before ? before : "";
  ::setenv("CARRONADE_ISA", "generic", 1);
  EXPECT_EQ(make_cpu_backend({.threads = 1, .isa = ""})->device().variant, "generic");
  ::setenv("CARRONADE_ISA", "nonsense", 1);
  EXPECT_THROW(make_cpu_backend({.threads = 1, .isa = ""}), Error);
  EXPECT_EQ(make_cpu_backend({.threads = 1, .isa = "generic"})->device().variant, "generic");
  if (before)
    ::setenv("CARRONADE_ISA", saved.c_str(), 1);
  else
    ::unsetenv("CARRONADE_ISA");
}

}  // namespace
}  // namespace carronade
