// Real weights through the whole engine, ten prompts at once: the text is llama.cpp's, up to its first choice that was
// not clear. (model/greedy_test.cc compares every choice; this one adds batching, paging and sampling.)
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "engine/engine.h"
#include "model/real_models.h"

namespace carronade {
namespace {

struct Case {
  const char* model;
  double clear;  // nats
  int compared;  // at least so many tokens came before the first near-ties
};

class GreedyTextTest : public testing::TestWithParam<Case> {};

TEST_P(GreedyTextTest, IsLlamaCppsUpToTheFirstNearTie) {
  const Case& the = GetParam();
  const auto path = find_real_model(the.model);
  if (!path) {
    ASSERT_FALSE(real_models_are_required()) << the.model << " is not there";
    GTEST_SKIP() << the.model << " is neither in CARRONADE_TEST_MODELS nor in the cache";
  }
  const auto golden = nlohmann::json::parse(
      read_file(std::string(CARRONADE_SOURCE_DIR) + "/tests/golden/greedy/" + the.model + ".json"));
  const auto& prompts = golden.at("prompts");
  const auto checkpoint = Checkpoint::open(*path);
  auto backend = make_cpu_backend({});
  auto model = Model::load(*checkpoint, *backend);
  EngineOptions options;
  options.max_model_len = 256;
  Engine engine(std::move(backend), std::move(model), options);

  std::mutex mutex;
  std::condition_variable ended;
  size_t left = prompts.size();
  std::vector<std::vector<TokenId>> answers(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    Request request;
    request.prompt = prompts[i].at("prompt").get<std::vector<TokenId>>();
    request.sampling.temperature = 0;
    request.sampling.max_tokens = static_cast<int>(prompts[i].at("plain").at("tokens").size());
    request.sink = [&, i](const EngineEvent& event) {
      const std::lock_guard lock(mutex);
      if (const auto* token = std::get_if<TokenEvent>(&event)) {
        answers[i].push_back(token->token);
      } else {
        --left;
        ended.notify_one();
      }
    };
    engine.submit(std::move(request));
  }
  std::unique_lock lock(mutex);
  ended.wait(lock, [&] { return left == 0; });

  int compared = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto expected = prompts[i].at("plain").at("tokens").get<std::vector<TokenId>>();
    const auto margins = prompts[i].at("plain").at("margins").get<std::vector<double>>();
    const auto tie = std::find_if(margins.begin(), margins.end(), [&](double margin) { return margin < the.clear; });
    const auto count = tie - margins.begin();
    ASSERT_GE(static_cast<ptrdiff_t>(answers[i].size()), count);
    EXPECT_TRUE(std::equal(answers[i].begin(), answers[i].begin() + count, expected.begin())) << prompts[i].at("text");
    compared += static_cast<int>(count);
  }
  EXPECT_GE(compared, the.compared);
}

INSTANTIATE_TEST_SUITE_P(RealWeights, GreedyTextTest,
                         testing::Values(Case{"smollm2-135m", 0.6, 20}, Case{"qwen2.5-coder-0.5b", 0.3, 60},
                                         Case{"qwen2.5-coder-1.5b", 0.3, 60}),
                         [](const auto& info) {
                           std::string name = info.param.model;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
                           return name;
                         });

}  // namespace
}  // namespace carronade
