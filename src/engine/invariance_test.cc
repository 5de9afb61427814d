// The promise of the whole engine on real weights: an answer is the same to the last bit whoever else is there, however
// prompts are cut, and whatever is cached, guessed, thrown out or read back from disk. On every instruction set that
// this processor has.
#include <gtest/gtest.h>

#include <random>

#include "base/testing.h"
#include "engine/testing.h"
#include "model/real_models.h"

namespace carronade {
namespace {

struct Answer {
  Tokens tokens;
  std::vector<float> logprobs;
  std::vector<float> prompt_logprobs;
  bool operator==(const Answer&) const = default;
};

class InvarianceTest : public testing::TestWithParam<std::string> {
 protected:
  // Plain C++ takes a second for what the others do in 20 ms.
  bool is_slow() const { return GetParam() == "generic"; }
  int prompts() const { return is_slow() ? 2 : 6; }

  void SetUp() override {
    path_ = find_real_model("smollm2-135m");
    if (path_) return;
    ASSERT_FALSE(real_models_are_required()) << "smollm2-135m is not there";
    GTEST_SKIP() << "smollm2-135m is neither in CARRONADE_TEST_MODELS nor in the cache";
  }

  std::unique_ptr<Engine> make(const EngineOptions& options) const {
    const auto checkpoint = Checkpoint::open(*path_);
    BackendOptions backend_options;
    backend_options.isa = GetParam();
    backend_options.threads = 2;
    auto backend = make_cpu_backend(backend_options);
    auto model = Model::load(*checkpoint, *backend);
    return std::make_unique<Engine>(std::move(backend), std::move(model), options);
  }

  static EngineOptions options() {
    EngineOptions options;
    options.max_model_len = 256;
    options.max_num_seqs = 8;
    options.max_num_batched_tokens = 64;
    return options;
  }

  // Prompts of different lengths that begin alike, with a repetition for the guesses; drawn and greedy answers.
  Request request(int number, bool rate_prompt) const {
    std::mt19937 random(1);
    Request request;
    for (int i = 0; i < 40; ++i) request.prompt.push_back(static_cast<TokenId>(1000 + random() % 20000));
    random.seed(static_cast<uint32_t>(number));
    for (int i = 0; i < 7 + 11 * number; ++i) request.prompt.push_back(static_cast<TokenId>(random() % 30000));
    for (int i = 0; i < 12; ++i) request.prompt.push_back(request.prompt[static_cast<size_t>(i)]);
    request.sampling.temperature = number % 2 == 0 ? 0.0f : 0.9f;
    request.sampling.seed = static_cast<uint64_t>(number);
    request.sampling.max_tokens = is_slow() ? 3 : 36;  // more than two blocks
    request.sampling.logprobs = 2;
    request.sampling.prompt_logprobs = rate_prompt ? 0 : -1;
    return request;
  }

  static Answer answer_of(Listener& listener) {
    const Finished finished = listener.wait();
    EXPECT_FALSE(finished.error) << finished.error->what();
    Answer answer;
    answer.tokens = listener.tokens();
    for (const TokenEvent& event : listener.events()) answer.logprobs.push_back(event.logprob);
    for (const TokenEvent& event : listener.prompt()) answer.prompt_logprobs.push_back(event.logprob);
    return answer;
  }

  std::vector<Answer> one_by_one(Engine& engine, bool rate_prompt = false) const {
    std::vector<Answer> answers;
    for (int i = 0; i < prompts(); ++i) {
      Listener listener;
      Request ask = request(i, rate_prompt);
      ask.sink = listener.sink();
      engine.submit(std::move(ask));
      answers.push_back(answer_of(listener));
    }
    return answers;
  }

  std::vector<Answer> together(Engine& engine, bool rate_prompt = false) const {
    std::vector<Listener> listeners(static_cast<size_t>(prompts()));
    for (int i = 0; i < prompts(); ++i) {
      Request ask = request(i, rate_prompt);
      ask.sink = listeners[static_cast<size_t>(i)].sink();
      engine.submit(std::move(ask));
    }
    std::vector<Answer> answers;
    for (Listener& listener : listeners) answers.push_back(answer_of(listener));
    return answers;
  }

  std::optional<std::filesystem::path> path_;
  TemporaryDirectory directory_;
};

TEST_P(InvarianceTest, TheSameAnswerToTheLastBit) {
  EngineOptions plain = options();
  plain.prefix_cache = false;
  const std::vector<Answer> expected = one_by_one(*make(plain));
  for (const Answer& answer : expected) ASSERT_FALSE(answer.tokens.empty());

  EXPECT_EQ(together(*make(plain)), expected) << "in one batch";
  if (is_slow()) return;
  for (const int rows : {9, 23}) {
    EngineOptions chunked = plain;
    chunked.max_num_batched_tokens = rows;
    EXPECT_EQ(together(*make(chunked)), expected) << "in steps of " << rows << " rows";
  }
  {
    const auto engine = make(options());
    EXPECT_EQ(together(*engine), expected) << "with a prefix cache";
    EXPECT_EQ(one_by_one(*engine), expected) << "from the prefix cache";
    EXPECT_GT(engine->stats().cached_tokens, 0u);
  }
  EngineOptions guessing = options();
  guessing.speculative_tokens = 5;
  EXPECT_EQ(together(*make(guessing)), expected) << "with guesses";
  EngineOptions narrow = options();
  const auto probe = make(options());
  narrow.kv_bytes = probe->options().kv_bytes / static_cast<uint64_t>(probe->stats().blocks_total) * 22;
  const auto crowded = make(narrow);
  EXPECT_EQ(together(*crowded), expected) << "with too few blocks for all";
  EXPECT_GT(crowded->stats().preemptions, 0u);
}

TEST_P(InvarianceTest, TheSameAnswerAfterARestart) {
  if (is_slow()) GTEST_SKIP() << "the others show it";
  EngineOptions kept = options();
  kept.kv_disk_bytes = 64 << 20;
  kept.kv_disk_directory = directory_.path();
  kept.kv_disk_model = "smollm2-135m";
  const std::vector<Answer> before = together(*make(kept));
  const auto again = make(kept);
  EXPECT_EQ(together(*again), before);
  EXPECT_GT(again->stats().kv_disk_read, 0u);
}

TEST_P(InvarianceTest, RatesAPromptAlikeInAnyCompany) {
  if (is_slow()) GTEST_SKIP() << "the others show it";
  const auto engine = make(options());
  const std::vector<Answer> expected = one_by_one(*engine, true);
  ASSERT_FALSE(expected[0].prompt_logprobs.empty());
  EXPECT_EQ(together(*engine, true), expected);
}

INSTANTIATE_TEST_SUITE_P(RealWeights, InvarianceTest, testing::ValuesIn(available_isas()),
                         [](const auto& info) { return "on_" + info.param; });

}  // namespace
}  // namespace carronade
