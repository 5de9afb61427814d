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
    backend->reserve(64, 1, model->config().vocabulary);
    backend->allocate_kv(model->kv_layout(DType::kF32), 4);
    Batch batch;
    const std::vector<BlockId> table = {2, 0, 3, 1};
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

TEST_F(DecoderTest, NamesAnUnknownArchitectureAndThoseItKnows) {
  GgufBuilder file = TinyModel{}.build();
  file.set("general.architecture", "mamba");
  const std::string message = refusal(file, ErrorCode::kUnsupported);
  EXPECT_NE(message.find("mamba"), std::string::npos);
  for (const char* known : {"qwen2", "qwen3", "llama", "mistral", "gemma3", "bert"}) {
    EXPECT_NE(message.find(known), std::string::npos) << known;
  }
}

TEST_F(DecoderTest, RefusesValuesThatCannotBe) {
  const auto damaged = [&](const std::string& key, auto value) {
    GgufBuilder file = TinyModel{}.build();
    file.set(key, value);
    return refusal(file, ErrorCode::kCorruptFile);
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
  damaged("llama.attn_logit_softcapping", -1.0f);
  damaged("llama.attention.sliding_window", "wide");
  damaged("llama.pooling_type", uint32_t{5});
}

TEST_F(DecoderTest, RefusesATensorThatWouldBeLeftUnused) {
  GgufBuilder file = TinyModel{}.build();
  file.tensor("blk.1.ffn_gate.bias", DType::kF32, {96}, std::vector<float>(96, 1.0f));
  EXPECT_NE(refusal(file, ErrorCode::kUnsupported).find("blk.1.ffn_gate.bias"), std::string::npos);
  GgufBuilder fewer = TinyModel{}.build();  // the second layer would be left out
  fewer.set("llama.block_count", uint32_t{1});
  EXPECT_NE(refusal(fewer, ErrorCode::kUnsupported).find("blk.1."), std::string::npos);
}

TEST_F(DecoderTest, ReadsWhichLayersSeeAWindow) {
  TinyModel tiny{.layers = 7};
  EXPECT_TRUE(config(tiny.build()).local_layers.empty());
  GgufBuilder uniform = tiny.build();
  uniform.set("llama.attention.sliding_window", uint32_t{9});
  EXPECT_EQ(config(uniform).local_layers, std::vector<bool>(7, true));
  EXPECT_EQ(config(uniform).local_attention_options.window, 9);
  EXPECT_EQ(config(uniform).attention_options.window, 0);
  GgufBuilder third = tiny.build();
  third.set("llama.attention.sliding_window", uint32_t{9});
  third.set("llama.attention.sliding_window_pattern", uint32_t{3});
  EXPECT_EQ(config(third).local_layers, (std::vector<bool>{true, true, false, true, true, false, true}));
  const auto listed = [&](const std::string& flags) {
    GgufBuilder file = tiny.build();
    file.set("llama.attention.sliding_window", uint32_t{9});
    file.put("llama.attention.sliding_window_pattern", 9,
             GgufBuilder::raw(uint32_t{7}) + GgufBuilder::raw(uint64_t{flags.size()}) + flags);
    return file;
  };
  EXPECT_EQ(config(listed(std::string("\0\1\1\0\0\0\1", 7))).local_layers,
            (std::vector<bool>{false, true, true, false, false, false, true}));
  refusal(listed(std::string("\0\1", 2)), ErrorCode::kCorruptFile);
}

TEST_F(DecoderTest, ReadsWhatIsGemmas) {
  TinyModel tiny{.architecture = "gemma3", .layers = 7, .tied = true};
  GgufBuilder file = tiny.build();
  file.set("gemma3.attention.sliding_window", uint32_t{9}).set("gemma3.final_logit_softcapping", 30.0f);
  file.set("gemma3.rope.scaling.type", "linear").set("gemma3.rope.scaling.factor", 8.0f);
  const ModelConfig gemma = config(file);
  EXPECT_EQ(gemma.local_layers, (std::vector<bool>{true, true, true, true, true, false, true}));
  EXPECT_FLOAT_EQ(gemma.rope.base, 1e6f);
  EXPECT_EQ(gemma.rope.frequency_scale, std::vector<float>(8, 0.125f));
  EXPECT_FLOAT_EQ(gemma.local_rope.base, 1e4f);
  EXPECT_TRUE(gemma.local_rope.frequency_scale.empty());
  EXPECT_FLOAT_EQ(gemma.embedding_scale, 8.0f);
  EXPECT_FLOAT_EQ(gemma.logit_soft_cap, 30.0f);
  EXPECT_FLOAT_EQ(gemma.attention_options.scale, 0.25f);
  EXPECT_EQ(gemma.gate, GateActivation::kGelu);
  file.set("gemma3.attention.query_pre_attn_scalar", 64.0f).set("gemma3.rope.freq_base_swa", 5000.0f);
  EXPECT_FLOAT_EQ(config(file).local_attention_options.scale, 0.125f);
  EXPECT_FLOAT_EQ(config(file).local_rope.base, 5000.0f);
  // Of the 27 B model GGUF files do not say that its scale goes by hidden / heads; its layers tell.
  TinyModel large{.architecture = "gemma3", .layers = 62, .tied = true};
  GgufBuilder wide = large.build();
  wide.set("gemma3.attention.key_length", uint32_t{32}).set("gemma3.attention.value_length", uint32_t{32});
  EXPECT_FLOAT_EQ(config(wide).attention_options.scale, 0.25f);
}

// In a model of one layer a token beyond the window changes nothing, and one within it does.
TEST_F(DecoderTest, AWindowEndsWhereItSays) {
  for (const char* architecture : {"mistral", "gemma3"}) {
    TinyModel tiny{.architecture = architecture, .layers = 1};
    GgufBuilder file = tiny.build();
    file.set(std::string(architecture) + ".attention.sliding_window", uint32_t{20});
    std::vector<int32_t> tokens(50);
    for (int i = 0; i < 50; ++i) tokens[static_cast<size_t>(i)] = i * 7 % 97;
    const std::vector<float> expected = logits(file, tokens);
    std::vector<int32_t> beyond = tokens, within = tokens;
    beyond[49 - 20] = 5;
    within[49 - 19] = 5;
    EXPECT_EQ(logits(file, beyond), expected) << architecture;
    EXPECT_NE(logits(file, within), expected) << architecture;
    EXPECT_NE(logits(tiny.build(), beyond), logits(tiny.build(), tokens)) << architecture;
  }
}

// The rule of backend.h, through every architecture's own ways: windows, two rotations, scaled ones.
TEST_F(DecoderTest, ChunksChangeNoBit) {
  for (const char* name : {"llama", "mistral", "qwen2", "qwen3", "gemma3"}) {
    SCOPED_TRACE(name);
    TinyModel tiny{.architecture = name, .layers = 7};
    GgufBuilder file = tiny.build();
    const auto key = [&](const char* rest) { return std::string(name) + "." + rest; };
    file.set(key("rope.scaling.type"), "yarn").set(key("rope.scaling.factor"), 4.0f);
    file.set(key("rope.scaling.original_context_length"), uint32_t{48});
    if (tiny.architecture != "llama") file.set(key("attention.sliding_window"), uint32_t{20});
    const auto checkpoint = open(file);
    const auto backend = make_cpu_backend({.threads = 2, .isa = ""});
    const auto model = Model::load(*checkpoint, *backend);
    constexpr int kLength = 290;  // beyond a split of the attention kernel
    backend->reserve(kLength, 1, model->config().vocabulary);
    backend->allocate_kv(model->kv_layout(DType::kF16), 20);
    std::vector<BlockId> table(20);
    std::iota(table.rbegin(), table.rend(), 0);
    const auto after = [&](int chunk) {
      for (int first = 0; first < kLength; first += chunk) {
        Batch batch;
        for (int i = first; i < std::min(first + chunk, kLength); ++i) {
          batch.tokens.push_back(i * i % 97);
          batch.positions.push_back(i);
        }
        batch.sequences.push_back(
            {.first_row = 0, .rows = batch.rows(), .first_position = first, .block_table = table});
        batch.output_rows = {batch.rows() - 1};
        model->forward(batch);
      }
      const std::span<const float> row = backend->read_logits(0);
      return std::vector<float>(row.begin(), row.end());
    };
    const std::vector<float> whole = after(kLength);
    for (const int chunk : {1, 7, 64, 256}) EXPECT_EQ(after(chunk), whole) << chunk;
  }
}

TEST_F(DecoderTest, NormsGetTheOneThatPublishedGemmasLack) {
  TinyModel tiny{.architecture = "gemma3", .tied = true};
  GgufBuilder whole = tiny.build(), lacking = tiny.build();
  lacking.set("carronade.norm.plus_one", true);
  const auto checkpoint = open(tiny.build());
  for (const TensorView& tensor : checkpoint->tensors()) {
    if (tensor.name.find("norm") == std::string::npos) continue;
    std::vector<float> values(static_cast<size_t>(tensor.columns()));
    dequantize(tensor.dtype, tensor.bytes.data(), values.data(), tensor.columns());
    for (float& value : values) value -= 1.0f;
    lacking.replace_tensor(tensor.name, values);
  }
  const std::vector<float> a = logits(whole, {1, 2, 3}), b = logits(lacking, {1, 2, 3});
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4f);
}

TEST_F(DecoderTest, BiasesOfLlamaAreTakenWhereTheyAre) {
  const TinyModel plain{}, biased{.output_bias = true};
  EXPECT_NE(logits(plain.build(), {1, 2, 3}), logits(biased.build(), {1, 2, 3}));
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

// Pooled by its last row a decoder gives what the output matrix multiplies.
TEST_F(DecoderTest, EmbedsTheLastRowNormed) {
  TinyModel tiny{.architecture = "qwen3", .tied = true};
  const std::vector<float> expected = logits(tiny.build(), {3, 1, 4, 1, 5});
  const auto checkpoint = open(tiny.build());
  const auto backend = make_reference_backend({});
  const auto model = Model::load(*checkpoint, *backend);
  EXPECT_EQ(model->config().pooling, Pooling::kLast);
  backend->reserve(16, 1, model->config().vocabulary);
  backend->allocate_kv(model->kv_layout(DType::kF32), 1);
  const std::vector<BlockId> table = {0};
  Batch batch;
  batch.tokens = {3, 1, 4, 1, 5};
  batch.positions = {0, 1, 2, 3, 4};
  batch.sequences.push_back({.first_row = 0, .rows = 5, .first_position = 0, .block_table = table});
  model->embed(batch);
  const std::span<const float> vector = backend->read_pooled(0);
  ASSERT_EQ(vector.size(), 64u);
  std::vector<float> row(64);
  for (int token : {0, 17, 96}) {
    const TensorView& embeddings = checkpoint->require("token_embd.weight", std::vector<int64_t>{97, 64});
    dequantize(DType::kF32, embeddings.bytes.data() + static_cast<size_t>(token) * 64 * 4, row.data(), 64);
    const float product = std::inner_product(row.begin(), row.end(), vector.begin(), 0.0f);
    EXPECT_NEAR(product, expected[static_cast<size_t>(token)], 1e-4f);
  }
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
