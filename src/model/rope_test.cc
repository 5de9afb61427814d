// Scalings of the rotation; the numbers are those that transformers computes from the same configurations.
#include "model/rope.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing.h"
#include "model/testing.h"

namespace carronade {
namespace {

class RopeTest : public testing::Test {
 protected:
  // Of a head of 16.
  Rope read(GgufBuilder file) {
    file.write(directory_.path() / "tiny.gguf");
    const auto checkpoint = Checkpoint::open(directory_.path() / "tiny.gguf");
    return read_rope(*checkpoint, 16, 512, Rope::Pairing::kNeighbours, 10000.0f);
  }
  void expect_refusal(const GgufBuilder& file, ErrorCode code, const std::string& part) {
    try {
      read(file);
      ADD_FAILURE() << part << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code, code);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
  static GgufBuilder file() { return TinyModel{}.build(); }
  static GgufBuilder yarn(float factor, uint32_t original) {
    GgufBuilder builder = file();
    builder.set("llama.rope.scaling.type", "yarn").set("llama.rope.scaling.factor", factor);
    builder.set("llama.rope.scaling.original_context_length", original);
    return builder;
  }
  static void expect_scale(const Rope& rope, const std::vector<float>& expected) {
    ASSERT_EQ(rope.frequency_scale.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(rope.frequency_scale[i], expected[i], 2e-6f) << i;
  }

  TemporaryDirectory directory_;
};

TEST_F(RopeTest, ByDefaultNothingIsScaled) {
  const Rope rope = read(file());
  EXPECT_EQ(rope.dimensions, 16);
  EXPECT_TRUE(rope.frequency_scale.empty());
  EXPECT_FLOAT_EQ(rope.base, 10000.0f);
  EXPECT_FLOAT_EQ(rope.magnitude, 1.0f);
  GgufBuilder none = file();
  none.set("llama.rope.scaling.type", "none").set("llama.rope.scaling.factor", 4.0f);
  EXPECT_TRUE(read(none).frequency_scale.empty());
  GgufBuilder overridden = file();
  overridden.set("carronade.rope.pairing", "halves");
  EXPECT_EQ(read(overridden).pairing, Rope::Pairing::kHalves);
}

TEST_F(RopeTest, Linear) {
  GgufBuilder linear = file();
  linear.set("llama.rope.scaling.type", "linear").set("llama.rope.scaling.factor", 4.0f);
  EXPECT_EQ(read(linear).frequency_scale, std::vector<float>(8, 0.25f));
  GgufBuilder unnamed = file();
  unnamed.set("llama.rope.scaling.factor", 4.0f);
  EXPECT_EQ(read(unnamed).frequency_scale, std::vector<float>(8, 0.25f));
  GgufBuilder oldest = file();
  oldest.set("llama.rope.scale_linear", 2.0f);
  EXPECT_EQ(read(oldest).frequency_scale, std::vector<float>(8, 0.5f));
}

TEST_F(RopeTest, Llama3AsATensor) {
  GgufBuilder stretched = file();
  stretched.tensor("rope_freqs.weight", DType::kF32, {8}, std::vector<float>{1, 1, 1, 1, 2, 4, 8, 8});
  EXPECT_EQ(read(stretched).frequency_scale, (std::vector<float>{1, 1, 1, 1, 0.5f, 0.25f, 0.125f, 0.125f}));
}

TEST_F(RopeTest, Yarn) {
  const Rope rope = read(yarn(8.0f, 4096));
  expect_scale(rope, {1, 1, 1, 0.78125f, 0.5625f, 0.34375f, 0.125f, 0.125f});
  EXPECT_NEAR(rope.magnitude, 1.2079442f, 1e-6f);
  expect_scale(read(yarn(4.0f, 48)), {1, 0.625f, 0.25f, 0.25f, 0.25f, 0.25f, 0.25f, 0.25f});
}

TEST_F(RopeTest, YarnWithItsOptions) {
  GgufBuilder given = yarn(4.0f, 48);
  given.set("llama.rope.scaling.yarn_attn_factor", 0.8f);
  EXPECT_FLOAT_EQ(read(given).magnitude, 0.8f);
  given.set("llama.rope.scaling.attn_factor", 0.5f);
  EXPECT_FLOAT_EQ(read(given).magnitude, 0.4f);
  GgufBuilder multiplied = yarn(8.0f, 4096);
  multiplied.set("llama.rope.scaling.yarn_log_multiplier", 0.5f).set("carronade.rope.yarn_truncate", false);
  EXPECT_NEAR(read(multiplied).magnitude, 1.09418f, 1e-6f);
  expect_scale(read(multiplied), {1, 1, 1, 0.8889821f, 0.5983133f, 0.3076446f, 0.125f, 0.125f});
  GgufBuilder interpolated = yarn(4.0f, 48);
  interpolated.set("llama.rope.scaling.yarn_ext_factor", 0.0f);
  expect_scale(read(interpolated), std::vector<float>(8, 0.25f));
  GgufBuilder steep = yarn(8.0f, 4096);  // the original context falls back to the model's own
  steep.set("llama.rope.scaling.yarn_beta_fast", 33.0f).set("llama.rope.scaling.yarn_beta_slow", 32.0f);
  EXPECT_NE(read(steep).frequency_scale, read(yarn(8.0f, 4096)).frequency_scale);
}

TEST_F(RopeTest, RefusesWhatCannotBe) {
  GgufBuilder scaled = file();
  scaled.set("llama.rope.scaling.type", "longrope");
  expect_refusal(scaled, ErrorCode::kUnsupported, "longrope");
  GgufBuilder missing = file();
  missing.set("llama.rope.scaling.type", "yarn");
  expect_refusal(missing, ErrorCode::kCorruptFile, "rope.scaling.factor");
  expect_refusal(yarn(0.0f, 48), ErrorCode::kCorruptFile, "rope.scaling.factor");
  expect_refusal(yarn(4.0f, 0), ErrorCode::kCorruptFile, "original_context_length");
  GgufBuilder flat = yarn(4.0f, 48);
  flat.set("llama.rope.freq_base", 1.0f);
  expect_refusal(flat, ErrorCode::kCorruptFile, "freq_base");
  for (const float bad :
       {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    GgufBuilder factors = file();
    factors.tensor("rope_freqs.weight", DType::kF32, {8}, std::vector<float>(8, bad));
    expect_refusal(factors, ErrorCode::kCorruptFile, "rope_freqs.weight");
  }
  GgufBuilder fewer = file();
  fewer.tensor("rope_freqs.weight", DType::kF32, {7}, std::vector<float>(7, 1.0f));
  expect_refusal(fewer, ErrorCode::kCorruptFile, "8 numbers");
  for (const uint32_t dimensions : {15u, 18u}) {
    GgufBuilder odd = file();
    odd.set("llama.rope.dimension_count", dimensions);
    expect_refusal(odd, ErrorCode::kCorruptFile, "dimension_count");
  }
  GgufBuilder base = file();
  base.set("llama.rope.freq_base", 0.0f);
  expect_refusal(base, ErrorCode::kCorruptFile, "freq_base");
  GgufBuilder pairing = file();
  pairing.set("carronade.rope.pairing", "thirds");
  expect_refusal(pairing, ErrorCode::kCorruptFile, "thirds");
}

}  // namespace
}  // namespace carronade
