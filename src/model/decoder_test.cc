// Configurations, loading and errors, over tiny random models.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/testing.h"
#include "model/model.h"
#include "model/testing.h"

namespace carronade {
namespace {

class DecoderTest : public testing::Test {
 protected:
  std::shared_ptr<const Checkpoint> open(GgufBuilder file) {
    file.write(directory_.path() / "tiny.gguf");
    return Checkpoint::open(directory_.path() / "tiny.gguf");
  }
  ModelConfig config(GgufBuilder file) { return read_model_config(*open(std::move(file))); }
  std::string refusal(GgufBuilder file, ErrorCode code) {
    try {
      const auto checkpoint = open(std::move(file));
      const auto backend = make_reference_backend({});
      Model::load(*checkpoint, *backend);
    } catch (const Error& error) {
      EXPECT_EQ(error.code, code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "it loaded";
    return "";
  }
  // Logits after the tokens.
  std::vector<float> logits(GgufBuilder file, const std::vector<int32_t>& tokens) {
    const auto checkpoint = open(std::move(file));
    const auto backend = make_reference_backend({});
    const auto model = Model::load(*checkpoint, *backend);
    backend->reserve(16, 1, model->config().vocabulary);
    backend->allocate_kv(model->kv_layout(DType::kF32), 1);
    Batch batch;
    const std::vector<BlockId> table = {0};
    batch.tokens = tokens;
    batch.positions.resize(tokens.size());
    std::iota(batch.positions.begin(), batch.positions.end(), 0);
    batch.sequences.push_back({.first_row = 0, .rows = batch.rows(), .first_position = 0, .block_table = table});
    batch.output_rows = {batch.rows() - 1};
    model->forward(batch);
    const std::span<const float> row = backend->read_logits(0);
    return {row.begin(), row.end()};
  }

  TemporaryDirectory directory_;
};

TEST_F(DecoderTest, ReadsTheConfiguration) {
  GgufBuilder file = TinyModel{}.build();
  file.set("llama.rope.freq_base", 500000.0f);
  const ModelConfig llama = config(file);
  EXPECT_EQ(llama.architecture, "llama");
  EXPECT_EQ(llama.name, "tiny");
  EXPECT_EQ(llama.layers, 2);
  EXPECT_EQ(llama.hidden, 64);
  EXPECT_EQ(llama.ffn, 96);
  EXPECT_EQ(llama.vocabulary, 97);
  EXPECT_EQ(llama.context_length, 512);
  EXPECT_EQ(llama.attention.heads, 4);
  EXPECT_EQ(llama.attention.kv_heads, 2);
  EXPECT_EQ(llama.attention.head_dim, 16);
  EXPECT_FLOAT_EQ(llama.norm_epsilon, 1e-5f);
  EXPECT_FLOAT_EQ(llama.rope.base, 500000.0f);
  EXPECT_EQ(llama.rope.dimensions, 16);
  EXPECT_EQ(llama.rope.pairing, Rope::Pairing::kNeighbours);
  EXPECT_FALSE(llama.tied_embeddings);
  TinyModel qwen{.architecture = "qwen2", .tied = true};
  EXPECT_EQ(config(qwen.build()).rope.pairing, Rope::Pairing::kHalves);
  EXPECT_FLOAT_EQ(config(qwen.build()).rope.base, 10000.0f);
  EXPECT_TRUE(config(qwen.build()).tied_embeddings);
}

TEST_F(DecoderTest, ReadsRopeScalings) {
  GgufBuilder linear = TinyModel{}.build();
  linear.set("llama.rope.scaling.type", "linear").set("llama.rope.scaling.factor", 4.0f);
  EXPECT_EQ(config(linear).rope.frequency_scale, std::vector<float>(8, 0.25f));
  GgufBuilder stretched = TinyModel{}.build();
  stretched.tensor("rope_freqs.weight", DType::kF32, {8}, std::vector<float>{1, 1, 1, 1, 2, 4, 8, 8});
  EXPECT_EQ(config(stretched).rope.frequency_scale, (std::vector<float>{1, 1, 1, 1, 0.5f, 0.25f, 0.125f, 0.125f}));
  GgufBuilder overridden = TinyModel{}.build();
  overridden.set("carronade.rope.pairing", "halves");
  EXPECT_EQ(config(overridden).rope.pairing, Rope::Pairing::kHalves);
}

TEST_F(DecoderTest, NamesAnUnknownArchitectureAndThoseItKnows) {
  GgufBuilder file = TinyModel{}.build();
  file.set("general.architecture", "mamba");
  const std::string message = refusal(file, ErrorCode::kUnsupported);
  EXPECT_NE(message.find("mamba"), std::string::npos);
  EXPECT_NE(message.find("qwen2"), std::string::npos);
  EXPECT_NE(message.find("llama"), std::string::npos);
}

TEST_F(DecoderTest, RefusesValuesThatCannotBe) {
  const auto damaged = [&](const std::string& key, auto value) {
    GgufBuilder file = TinyModel{}.build();
    file.set(key, value);
    const std::string message = refusal(file, ErrorCode::kCorruptFile);
    return message;
  };
  EXPECT_NE(damaged("llama.block_count", uint32_t{0}).find("llama.block_count is 0"), std::string::npos);
  damaged("llama.block_count", uint32_t{3});  // the third layer's tensors are missing
  damaged("llama.block_count", uint32_t{4000000000});
  damaged("llama.block_count", "two");
  damaged("llama.embedding_length", uint32_t{63});
  damaged("llama.attention.head_count", uint32_t{3});
  damaged("llama.attention.head_count_kv", uint32_t{3});
  damaged("llama.attention.head_count_kv", uint32_t{0});
  damaged("llama.attention.key_length", uint32_t{32});
  damaged("llama.feed_forward_length", uint32_t{97});
  damaged("llama.attention.layer_norm_rms_epsilon", -1.0f);
  damaged("llama.attention.layer_norm_rms_epsilon", std::numeric_limits<float>::quiet_NaN());
  damaged("llama.rope.dimension_count", uint32_t{15});
  damaged("llama.rope.dimension_count", uint32_t{18});
  damaged("llama.rope.freq_base", 0.0f);
  damaged("carronade.rope.pairing", "thirds");
  GgufBuilder scaled = TinyModel{}.build();
  scaled.set("llama.rope.scaling.type", "longrope");
  EXPECT_NE(refusal(scaled, ErrorCode::kUnsupported).find("longrope"), std::string::npos);
  GgufBuilder wrong = TinyModel{}.build();
  wrong.tensor("rope_freqs.weight", DType::kF32, {7}, std::vector<float>(7, 1.0f));
  refusal(wrong, ErrorCode::kCorruptFile);
}

TEST_F(DecoderTest, ReportsItsProgress) {
  const auto checkpoint = open(TinyModel{.tied = true}.build());
  const auto backend = make_reference_backend({});
  uint64_t last = 0, all = 0, calls = 0;
  Model::load(*checkpoint, *backend, [&](uint64_t done, uint64_t total) {
    EXPECT_GE(done, last);
    EXPECT_LE(done, total);
    last = done;
    all = total;
    ++calls;
  });
  EXPECT_EQ(last, all);
  EXPECT_GT(calls, 10u);
}

TEST_F(DecoderTest, TiedEmbeddingsAreTheOutputMatrix) {
  TinyModel model{.tied = true};
  GgufBuilder untied = model.build();
  std::mt19937 random(model.seed);
  untied.random_tensor("output.weight", DType::kF32, {97, 64}, random,
                       0.2f);  // the first that is drawn: the embeddings
  EXPECT_EQ(logits(model.build(), {1, 2, 3}), logits(untied, {1, 2, 3}));
}

TEST_F(DecoderTest, BiasesAndRotationMatter) {
  const TinyModel qwen{.architecture = "qwen2"};
  GgufBuilder turned = qwen.build();
  turned.set("carronade.rope.pairing", "neighbours");
  EXPECT_NE(logits(qwen.build(), {1, 2, 3}), logits(turned, {1, 2, 3}));
  EXPECT_NE(logits(qwen.build(), {1, 2, 3}), logits(qwen.build(), {2, 1, 3}));
  // Scaling every frequency by the same factor is another base for no pair but the first; here simply another rotation.
  GgufBuilder scaled = qwen.build();
  scaled.set("qwen2.rope.scaling.type", "linear").set("qwen2.rope.scaling.factor", 2.0f);
  EXPECT_NE(logits(qwen.build(), {1, 2, 3}), logits(scaled, {1, 2, 3}));
}

}  // namespace
}  // namespace carronade
