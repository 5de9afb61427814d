#include "hub/loaded_model.h"

#include <gtest/gtest.h>

#include <future>

#include <fmt/format.h>

#include "base/error.h"
#include "base/testing.h"
#include "engine/kv_budget.h"
#include "hub/memory_need.h"
#include "hub/testing.h"

namespace carronade {
namespace {

class LoadModelTest : public testing::Test {
 protected:
  std::filesystem::path write(GgufBuilder file) {
    file.write(directory_.path() / "tiny.gguf");
    return directory_.path() / "tiny.gguf";
  }
  static LoadOptions options() {
    LoadOptions options;
    options.backend_name = "reference";
    options.engine.kv_bytes = 8 << 20;
    return options;
  }
  TemporaryDirectory directory_;
};

TEST_F(LoadModelTest, EverythingThatAnswersIsThere) {
  GgufBuilder file = with_tokenizer({});
  file.set("tokenizer.chat_template", "{{ messages[0].content }}")
      .set("general.sampling.temp", 0.5f)
      .set("general.sampling.top_k", int32_t{20});
  uint64_t done = 0, total = 1;
  const auto model = load_model("tiny", write(file), options(), [&](uint64_t d, uint64_t t) { done = d, total = t; });
  EXPECT_EQ(done, total);
  EXPECT_EQ(model->name, "tiny");
  EXPECT_TRUE(model->chat_template);
  EXPECT_EQ(model->end_of_generation, std::vector<TokenId>{95});
  EXPECT_EQ(model->defaults.temperature, 0.5f);
  EXPECT_EQ(model->defaults.top_k, 20);
  EXPECT_FALSE(model->defaults.top_p);
  EXPECT_GT(model->created, 0);

  std::promise<Finished> finished;
  Request request;
  request.prompt = model->tokenizer->encode("Hello");
  request.sampling.max_tokens = 3;
  request.sink = [&](EngineEvent event) {
    if (auto* end = std::get_if<Finished>(&event)) finished.set_value(*end);
  };
  model->engine->submit(std::move(request));
  EXPECT_EQ(finished.get_future().get().usage.completion_tokens, 3);
}

// What is said to be the least before it is loaded is the least when it is.
TEST_F(LoadModelTest, ItsClaimIsWhatItTakes) {
  const std::filesystem::path path = write(with_tokenizer({}));
  LoadOptions with = options();
  with.engine.kv_bytes = 0;
  with.engine.max_model_len = 100;
  const MemoryClaim claim = memory_claim(*Checkpoint::open(path), with);
  EXPECT_EQ(claim.max_model_len, 100);
  with.engine.memory_bytes = claim.fixed + claim.kv_least;
  const auto least = load_model("tiny", path, with);
  EXPECT_EQ(least->engine->stats().blocks_total, 7) << "100 positions";
  EXPECT_EQ(most_bytes(*least->engine), with.engine.memory_bytes);
  --with.engine.memory_bytes;
  EXPECT_THROW(load_model("tiny", path, with), Error);
  with.engine.memory_bytes = claim.fixed + claim.kv_wanted;
  EXPECT_EQ(load_model("tiny", path, with)->engine->stats().blocks_total, 7 * kDefaultSequences);
  with.engine.max_model_len = 1 << 20;
  EXPECT_EQ(memory_claim(*Checkpoint::open(path), with).max_model_len, least->engine->model_config().context_length);
}

// Weights that are wider in memory than in their file.
TEST_F(LoadModelTest, ItsClaimKnowsThePackedWeights) {
  const std::filesystem::path path = write(with_tokenizer({.hidden = 256, .ffn = 256, .dtype = DType::kQ2_K}));
  LoadOptions with;
  with.backend.threads = 1;
  with.engine.max_model_len = 100;
  const MemoryClaim claim = memory_claim(*Checkpoint::open(path), with);
  with.engine.memory_bytes = claim.fixed + claim.kv_least;
  EXPECT_EQ(most_bytes(*load_model("tiny", path, with)->engine), with.engine.memory_bytes);
  --with.engine.memory_bytes;
  EXPECT_THROW(load_model("tiny", path, with), Error);
}

TEST_F(LoadModelTest, AnEncoderCannotAnswer) {
  try {
    load_model("tiny", write(TinyBert{}.build()), options());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kUnsupported);
    EXPECT_NE(std::string(error.what()).find("vectors"), std::string::npos) << error.what();
  }
}

TEST_F(LoadModelTest, ATemplateThatCannotBeReadIsLeftOut) {
  GgufBuilder file = with_tokenizer({});
  file.set("tokenizer.chat_template", "{% if %}");
  EXPECT_FALSE(load_model("tiny", write(file), options())->chat_template);
}

TEST_F(LoadModelTest, SaysWhatIsWrong) {
  const auto code = [&](GgufBuilder file, const LoadOptions& with) {
    try {
      load_model("tiny", write(std::move(file)), with);
    } catch (const Error& error) {
      return error.code;
    }
    return ErrorCode::kInternal;
  };
  LoadOptions unknown = options();
  unknown.backend_name = "abacus";
  EXPECT_EQ(code(with_tokenizer({}), unknown), ErrorCode::kInvalidArgument);
  TinyModel small{.vocabulary = 90};
  GgufBuilder smaller = small.build();
  std::vector<std::string> tokens;
  for (int i = 0; i < 97; ++i) tokens.push_back(fmt::format("t{}", i));
  smaller.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", "qwen2").set("tokenizer.ggml.tokens", tokens);
  smaller.set("tokenizer.ggml.merges", std::vector<std::string>{});
  EXPECT_EQ(code(smaller, options()), ErrorCode::kCorruptFile);
  EXPECT_THROW(load_model("none", directory_.path() / "none.gguf", options()), Error);
}

}  // namespace
}  // namespace carronade
