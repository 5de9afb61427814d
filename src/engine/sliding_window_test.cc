// Models with a sliding window under the whole engine: chunked prompts, preemption and prefix hits change no token, and
// what lies beyond the window changes none either.
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <optional>

#include "base/testing.h"
#include "engine/engine.h"
#include "model/testing.h"

namespace carronade {
namespace {

using Tokens = std::vector<TokenId>;

class SlidingWindowTest : public testing::TestWithParam<const char*> {
 protected:
  static constexpr uint32_t kWindow = 20;

  std::unique_ptr<Engine> make_engine(const EngineOptions& options, int layers) {
    TinyModel tiny;
    tiny.architecture = GetParam();
    tiny.layers = layers;
    GgufBuilder file = tiny.build();
    file.set(tiny.architecture + ".attention.sliding_window", kWindow);
    file.write(directory_.path() / "tiny.gguf");
    const auto checkpoint = Checkpoint::open(directory_.path() / "tiny.gguf");
    auto backend = make_cpu_backend({.threads = 2, .isa = ""});
    auto model = Model::load(*checkpoint, *backend);
    return std::make_unique<Engine>(std::move(backend), std::move(model), options);
  }
  static EngineOptions options(int rows, uint64_t kv_bytes) {
    EngineOptions options;
    options.max_model_len = 256;
    options.max_num_seqs = 4;
    options.max_num_batched_tokens = rows;
    options.kv_bytes = kv_bytes;
    return options;
  }
  static Tokens prompt(int length, int seed) {
    Tokens tokens;
    for (int i = 0; i < length; ++i) tokens.push_back((seed * 31 + i * i * 7 + i) % 97);
    return tokens;
  }

  // All at once; each until its 60th token.
  std::vector<Tokens> answers(Engine& engine, const std::vector<Tokens>& prompts) {
    std::mutex mutex;
    std::condition_variable changed;
    size_t left = prompts.size();
    std::vector<Tokens> answers(prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
      Request request;
      request.prompt = prompts[i];
      request.sampling.temperature = 0;
      request.sampling.max_tokens = 60;
      request.sink = [&, i](EngineEvent event) {
        const std::lock_guard lock(mutex);
        if (const auto* token = std::get_if<TokenEvent>(&event)) answers[i].push_back(token->token);
        if (std::holds_alternative<Finished>(event)) --left;
        changed.notify_all();
      };
      engine.submit(std::move(request));
    }
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return left == 0; });
    return answers;
  }

  TemporaryDirectory directory_;
};
INSTANTIATE_TEST_SUITE_P(Architectures, SlidingWindowTest, testing::Values("mistral", "gemma3"),
                         [](const auto& p) { return std::string(p.param); });

TEST_P(SlidingWindowTest, CompanyChunksAndPreemptionChangeNoToken) {
  constexpr uint64_t kPlenty = 8 << 20;
  const std::vector<Tokens> prompts = {prompt(150, 1), prompt(90, 2), prompt(190, 3), prompt(33, 4)};
  std::vector<Tokens> alone;
  {
    const auto engine = make_engine(options(240, kPlenty), 7);
    for (const Tokens& each : prompts) {
      alone.push_back(answers(*engine, {each})[0]);
      ASSERT_EQ(alone.back().size(), 60u);
    }
  }
  const auto chunked = make_engine(options(13, kPlenty), 7);
  EXPECT_EQ(answers(*chunked, prompts), alone);
  EXPECT_EQ(answers(*chunked, prompts), alone);  // now with prefix hits
  EXPECT_GT(chunked->stats().cached_tokens, 0u);
  // Blocks for little more than the longest: the others must give way.
  const uint64_t of_one = block_bytes({.layers = 7, .kv_heads = 2, .head_dim = 16, .dtype = DType::kF16});
  const auto scarce = make_engine(options(48, 18 * of_one), 7);
  EXPECT_EQ(answers(*scarce, prompts), alone);
  EXPECT_GT(scarce->stats().preemptions, 0u);
}

TEST_P(SlidingWindowTest, WhatLiesBeyondTheWindowIsForgotten) {
  const auto engine = make_engine(options(240, 8 << 20), 1);
  const Tokens tokens = prompt(120, 1);
  Tokens beyond = tokens, within = tokens;
  for (int i = 0; i < 60; ++i) beyond[static_cast<size_t>(i)] = (i * 5) % 97;
  for (int i = 101; i < 119; ++i) within[static_cast<size_t>(i)] = (i * 5) % 97;
  const Tokens expected = answers(*engine, {tokens})[0];
  EXPECT_EQ(answers(*engine, {beyond})[0], expected);
  EXPECT_NE(answers(*engine, {within})[0], expected);
}

}  // namespace
}  // namespace carronade
