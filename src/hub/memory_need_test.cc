#include "hub/memory_need.h"

#include <gtest/gtest.h>

#include "base/testing.h"
#include "model/testing.h"

namespace carronade {
namespace {

class MemoryNeedTest : public testing::Test {
 protected:
  std::shared_ptr<const Checkpoint> open(GgufBuilder file) const {
    file.write(directory_.path() / "tiny.gguf");
    return Checkpoint::open(directory_.path() / "tiny.gguf");
  }
  // What it takes before it is loaded, and what it took.
  static void expect_held(const Checkpoint& checkpoint, LoadOptions options = {}) {
    options.backend.threads = 1;
    const auto cpu = make_cpu_backend(options.backend);
    const auto on_cpu = Model::load(checkpoint, *cpu);
    EXPECT_EQ(memory_need(checkpoint, options).weights, cpu->memory_in_use());
    options.backend_name = "reference";
    const auto reference = make_reference_backend({});
    const auto on_reference = Model::load(checkpoint, *reference);
    EXPECT_EQ(memory_need(checkpoint, options).weights, reference->memory_in_use());
  }
  TemporaryDirectory directory_;
};

TEST_F(MemoryNeedTest, WeightsAreAsTheBackendHoldsThem) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kQ4_1, DType::kQ8_0, DType::kQ2_K, DType::kQ3_K,
                            DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    for (const bool tied : {false, true}) {
      SCOPED_TRACE(testing::Message() << info(dtype).name << (tied ? " tied" : ""));
      expect_held(*open(TinyModel{.hidden = 256, .ffn = 512, .tied = tied, .dtype = dtype}.build()));
    }
  }
}

TEST_F(MemoryNeedTest, EveryArchitectureHoldsWhatItNeeds) {
  for (const char* architecture : {"qwen2", "qwen3", "gemma3"}) {
    SCOPED_TRACE(architecture);
    expect_held(*open(TinyModel{.architecture = architecture, .tied = true}.build()));
  }
  expect_held(*open(TinyModel{.output_bias = true}.build()));
}

TEST_F(MemoryNeedTest, ATableThatIsOnlyLookedUpStaysAsItIs) {
  const TinyModel model{.hidden = 256, .ffn = 256, .dtype = DType::kQ2_K};
  const MemoryNeed untied = memory_need(*open(model.build()));
  const auto vocabulary = static_cast<uint64_t>(model.vocabulary);
  EXPECT_EQ(untied.weights - untied.per_step, (vocabulary * 84 + 63) / 64 * 64) << "a block of 84 bytes a row";
  TinyModel one = model;
  one.tied = true;
  const MemoryNeed tied = memory_need(*open(one.build()));
  EXPECT_EQ(tied.weights, tied.per_step);
  EXPECT_EQ(tied.per_step, untied.per_step);
}

TEST_F(MemoryNeedTest, FloatWeightsAreAsAskedFor) {
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    LoadOptions options;
    options.backend.float_weights = dtype;
    expect_held(*open(TinyModel{.dtype = DType::kBF16}.build()), options);
  }
}

TEST_F(MemoryNeedTest, AnEncoderMultipliesByNoTable) {
  const auto checkpoint = open(TinyBert{}.build());
  const TinyBert model;
  const MemoryNeed need = memory_need(*checkpoint);
  EXPECT_EQ(need.weights - need.per_step, sizeof(float) * static_cast<uint64_t>(model.hidden) *
                                              static_cast<uint64_t>(model.vocabulary + model.context));
  expect_held(*checkpoint);
}

TEST_F(MemoryNeedTest, AnUnknownArchitectureHasItsWeightsOnly) {
  GgufBuilder file = TinyModel{}.build();
  const MemoryNeed known = memory_need(*open(file));
  EXPECT_GT(known.kv_per_token, 0u);
  file.set("general.architecture", "abacus");
  const MemoryNeed need = memory_need(*open(file));
  EXPECT_EQ(need.weights, known.weights);
  EXPECT_EQ(need.kv_per_token, 0u);
}

}  // namespace
}  // namespace carronade
