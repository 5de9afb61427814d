// A tiny random encoder; its numbers are held against transformers in tests/golden/models.
#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "base/testing.h"
#include "model/model.h"
#include "model/testing.h"

namespace carronade {
namespace {

class BertTest : public testing::Test {
 protected:
  void load(GgufBuilder file) {
    file.write(directory_.path() / "tiny.gguf");
    model_.reset();  // before its backend
    backend_ = make_cpu_backend({.threads = 2, .isa = ""});
    model_ = Model::load(*Checkpoint::open(directory_.path() / "tiny.gguf"), *backend_);
    backend_->reserve(200, 1, model_->config().vocabulary);
    backend_->allocate_kv(model_->kv_layout(DType::kF16), 16);
  }
  std::vector<std::vector<float>> embed(const std::vector<std::vector<int32_t>>& texts) {
    Batch batch;
    std::vector<std::vector<BlockId>> tables;
    BlockId next = 0;
    for (const auto& text : texts) {
      std::vector<BlockId>& table = tables.emplace_back((text.size() + 15) / 16);
      std::iota(table.begin(), table.end(), next);
      next += static_cast<BlockId>(table.size());
    }
    for (size_t t = 0; t < texts.size(); ++t) {
      const int rows = static_cast<int>(texts[t].size());
      batch.sequences.push_back({.first_row = batch.rows(), .rows = rows, .block_table = tables[t]});
      batch.tokens.insert(batch.tokens.end(), texts[t].begin(), texts[t].end());
      for (int i = 0; i < rows; ++i) batch.positions.push_back(i);
    }
    model_->embed(batch);
    std::vector<std::vector<float>> vectors;
    for (size_t t = 0; t < texts.size(); ++t) {
      const auto vector = backend_->read_pooled(static_cast<int>(t));
      vectors.emplace_back(vector.begin(), vector.end());
    }
    return vectors;
  }
  static std::vector<int32_t> text(int number, int length) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < length; ++i) tokens.push_back((number * 31 + i * 17 + i * i) % 97);
    return tokens;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
};

TEST_F(BertTest, ReadsItsConfiguration) {
  load(TinyBert{.pooling = 2}.build());
  const ModelConfig& config = model_->config();
  EXPECT_TRUE(config.encoder);
  EXPECT_EQ(config.context_length, 40);
  EXPECT_EQ(config.attention_options.mask, AttentionMask::kBidirectional);
  EXPECT_EQ(config.pooling, Pooling::kFirst);
  EXPECT_FLOAT_EQ(config.norm_epsilon, 1e-12f);
  load(TinyBert{.pooling = 0}.build());
  EXPECT_EQ(model_->config().pooling, Pooling::kMean);
  load(TinyBert{.pooling = 3}.build());
  EXPECT_EQ(model_->config().pooling, Pooling::kLast);
}

TEST_F(BertTest, KeepsKeysOfOneLayerInFloat) {
  load(TinyBert{.layers = 3}.build());
  const KvLayout layout = model_->kv_layout(DType::kQ8_0);
  EXPECT_EQ(layout.layers, 1);
  EXPECT_EQ(layout.dtype, DType::kF32);
}

TEST_F(BertTest, EveryTokenSeesTheWholeText) {
  load(TinyBert{.pooling = 2}.build());  // the first token's vector
  std::vector<int32_t> tokens = text(1, 40);
  const auto expected = embed({tokens});
  tokens.back() = (tokens.back() + 1) % 97;
  EXPECT_NE(embed({tokens}), expected);
}

TEST_F(BertTest, PositionsAndTokenTypesCount) {
  load(TinyBert{}.build());
  EXPECT_NE(embed({{1, 2, 3}}), embed({{2, 1, 3}}));
  const auto expected = embed({{1, 2, 3}});
  GgufBuilder second = TinyBert{}.build();
  second.replace_tensor("token_types.weight", std::vector<float>(2 * 64, 1.5f));
  load(second);
  EXPECT_NE(embed({{1, 2, 3}}), expected);
}

TEST_F(BertTest, CompanyChangesNoBit) {
  load(TinyBert{}.build());
  const auto alone = embed({text(1, 40)});
  EXPECT_EQ(embed({text(2, 33), text(1, 40), text(3, 1)})[1], alone[0]);
}

TEST_F(BertTest, WritesNoText) {
  load(TinyBert{}.build());
  try {
    model_->forward(Batch{});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  }
}

TEST_F(BertTest, RefusesWhatCannotBe) {
  const auto refuse = [&](GgufBuilder file, ErrorCode code, const std::string& part) {
    try {
      load(std::move(file));
      ADD_FAILURE() << part << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code, code) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  GgufBuilder ranking = TinyBert{.pooling = 4}.build();
  refuse(ranking, ErrorCode::kUnsupported, "rank");
  GgufBuilder longer = TinyBert{}.build();
  longer.set("bert.context_length", uint32_t{41});
  refuse(longer, ErrorCode::kCorruptFile, "position_embd.weight");
  GgufBuilder shared = TinyBert{}.build();
  shared.set("bert.attention.head_count_kv", uint32_t{2});
  refuse(shared, ErrorCode::kUnsupported, "share");
  GgufBuilder gated = TinyBert{}.build();
  gated.tensor("blk.0.ffn_gate.weight", DType::kF32, {96, 64}, std::vector<float>(96 * 64));
  refuse(gated, ErrorCode::kUnsupported, "blk.0.ffn_gate.weight");
}

}  // namespace
}  // namespace carronade
