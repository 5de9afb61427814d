// Real weights against llama.cpp: wherever its choice was clear, ours is the same. The goldens and how they were made:
// tests/golden/greedy.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "model/model.h"
#include "model/real_models.h"

namespace carronade {
namespace {

struct Case {
  const char* model;
  const char* backend;
  std::vector<const char*> paths;  // of llama.cpp
  double clear;                    // choices preferred by at least this many nats must be the same
  int prompts;                     // of the ten: the oracle is slow
  int compared;                    // at least so many choices were clear; fewer would mean that the test tests little
};

// Who rounds activations to 8 bits differs from who does not, and from who does it otherwise. On SmolLM2 the margins of
// 612 choices differ by 0.16 nats (root mean square) on AVX2 and the generic kernels, at one choice or two by 0.6 to
// 0.9; on the Qwens by up to 0.2.
constexpr double kRoundedSmall = 1.0, kRounded = 0.3;

struct Tally {
  int compared = 0, equal = 0;
  double worst = 0;  // the largest margin at which we differed
};

// llama.cpp's own answer is given to the model; at each of its tokens the model says what it would have chosen.
void compare(Model& model, Backend& backend, const std::vector<int32_t>& prompt, const nlohmann::json& path,
             double clear, Tally& tally) {
  const auto answer = path.at("tokens").get<std::vector<int32_t>>();
  const auto margins = path.at("margins").get<std::vector<double>>();
  Batch batch;
  batch.tokens = prompt;
  batch.tokens.insert(batch.tokens.end(), answer.begin(), answer.end() - 1);
  batch.positions.resize(batch.tokens.size());
  std::iota(batch.positions.begin(), batch.positions.end(), 0);
  std::vector<BlockId> table(batch.tokens.size() / kBlockPositions + 1);
  std::iota(table.begin(), table.end(), 0);
  batch.sequences.push_back({.first_row = 0, .rows = batch.rows(), .first_position = 0, .block_table = table});
  for (size_t i = 0; i < answer.size(); ++i) batch.output_rows.push_back(static_cast<int32_t>(prompt.size() - 1 + i));
  model.forward(batch);
  for (size_t i = 0; i < answer.size(); ++i) {
    const int32_t choice = backend.argmax(static_cast<int>(i));
    if (choice != answer[i]) tally.worst = std::max(tally.worst, margins[i]);
    if (margins[i] < clear) continue;
    ++tally.compared;
    tally.equal += choice == answer[i] ? 1 : 0;
    EXPECT_EQ(choice, answer[i]) << "at token " << i << ", which llama.cpp preferred by " << margins[i];
  }
}

class GreedyTest : public testing::TestWithParam<Case> {};

TEST_P(GreedyTest, ChoosesAsLlamaCppWhereItsChoiceIsClear) {
  const Case& the = GetParam();
  const auto path = find_real_model(the.model);
  if (!path) {
    ASSERT_FALSE(real_models_are_required()) << the.model << " is not there";
    GTEST_SKIP() << the.model << " is neither in CARRONADE_TEST_MODELS nor in the cache";
  }
  const auto golden = nlohmann::json::parse(
      read_file(std::string(CARRONADE_SOURCE_DIR) + "/tests/golden/greedy/" + the.model + ".json"));
  const auto checkpoint = Checkpoint::open(*path);
  const auto backend = std::string(the.backend) == "cpu" ? make_cpu_backend({}) : make_reference_backend({});
  const auto model = Model::load(*checkpoint, *backend);
  backend->reserve(128, 48, model->config().vocabulary);
  backend->allocate_kv(model->kv_layout(DType::kF16), 8);
  Tally tally;
  int left = the.prompts;
  for (const auto& entry : golden.at("prompts")) {
    if (left-- == 0) break;
    SCOPED_TRACE(entry.at("text").get<std::string>());
    const auto prompt = entry.at("prompt").get<std::vector<int32_t>>();
    for (const char* way : the.paths) compare(*model, *backend, prompt, entry.at(way), the.clear, tally);
  }
  RecordProperty("compared", tally.compared);
  RecordProperty("worst", std::to_string(tally.worst));
  EXPECT_GE(tally.compared, the.compared);
  EXPECT_EQ(tally.equal, tally.compared);
}

INSTANTIATE_TEST_SUITE_P(RealWeights, GreedyTest,
                         testing::Values(Case{"smollm2-135m", "reference", {"float"}, 0.02, 2, 70},
                                         Case{"smollm2-135m", "cpu", {"float", "plain"}, kRoundedSmall, 10, 500},
                                         Case{"qwen2.5-coder-0.5b", "cpu", {"float", "repacked"}, kRounded, 10, 500},
                                         Case{"qwen2.5-coder-1.5b", "cpu", {"plain", "repacked"}, kRounded, 10, 500}),
                         [](const auto& info) {
                           std::string name = std::string(info.param.model) + "_" + info.param.backend;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
                           return name;
                         });

}  // namespace
}  // namespace carronade
