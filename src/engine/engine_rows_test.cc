// More than one row of logits a step: drafts, the log-probabilities of prompts, and prompts that several read.
#include <gtest/gtest.h>

#include <chrono>
#include <deque>

#include "engine/engine.h"
#include "engine/testing.h"

namespace carronade {
namespace {

class EngineRows : public EngineTest {
 protected:
  static EngineOptions speculating(int tokens) {
    EngineOptions options = small_options();
    options.max_num_batched_tokens = 64;
    options.speculative_tokens = tokens;
    return options;
  }
  // A prompt that quotes itself, so that there is something to guess.
  static Tokens quoting(int seed) {
    Tokens tokens = prompt(24, seed);
    for (int i = 0; i < 3; ++i) tokens.insert(tokens.end(), tokens.begin(), tokens.begin() + 20);
    return tokens;
  }
};

TEST_F(EngineRows, DraftsChangeNoAnswer) {
  const auto plain = make_engine(speculating(0));
  const auto guessing = make_engine(speculating(6));
  for (int seed = 1; seed <= 12; ++seed) {
    const auto ask = [&] {
      Request ask = request(quoting(seed), 60);
      ask.sampling.temperature = seed % 3 == 0 ? 0.7f : 0.0f;
      ask.sampling.seed = static_cast<uint64_t>(seed);
      if (seed % 4 == 0) ask.sampling.frequency_penalty = 0.4f;
      if (seed % 5 == 0) ask.sampling.logprobs = 2;
      return ask;
    };
    Listener one, other;
    Request first = ask(), second = ask();
    first.sink = one.sink();
    second.sink = other.sink();
    plain->submit(std::move(first));
    guessing->submit(std::move(second));
    one.wait();
    const Finished finished = other.wait();
    EXPECT_EQ(finished.usage.completion_tokens, 60);
    const std::vector<TokenEvent> expected = one.events(), actual = other.events();
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_EQ(actual[i].token, expected[i].token) << "seed " << seed << ", token " << i;
      ASSERT_EQ(actual[i].logprob, expected[i].logprob);
    }
  }
  EXPECT_EQ(plain->stats().draft_tokens, 0u);
  EXPECT_GT(guessing->stats().accepted_draft_tokens, 0u);
  EXPECT_GT(guessing->stats().draft_tokens, guessing->stats().accepted_draft_tokens);
}

TEST_F(EngineRows, DraftsStopAtTheLimits) {
  const auto engine = make_engine(speculating(6));
  for (const int limit : {1, 2, 3, 5, 8}) {
    EXPECT_EQ(answer(*engine, request(quoting(1), limit)).size(), static_cast<size_t>(limit));
  }
  EngineOptions tight = speculating(6);
  tight.max_model_len = 100;
  const auto small = make_engine(tight);
  EXPECT_EQ(answer(*small, request(quoting(1), 0)).size(), 16u);  // 84 tokens of prompt
}

TEST_F(EngineRows, PromptLogprobsAreThoseOfWritingIt) {
  const auto engine = make_engine();
  // What the model itself writes has the log-probability it was written with.
  Request write = request(prompt(30), 40);
  write.sampling.logprobs = 3;
  Listener writing;
  write.sink = writing.sink();
  engine->submit(std::move(write));
  writing.wait();
  Tokens whole = prompt(30);
  for (const TokenEvent& event : writing.events()) whole.push_back(event.token);

  Request read = request(whole, 1);
  read.sampling.prompt_logprobs = 3;
  Listener reading;
  read.sink = reading.sink();
  engine->submit(std::move(read));
  const Finished finished = reading.wait();
  EXPECT_EQ(finished.usage.cached_tokens, 0);  // though the cache holds it
  const std::vector<TokenEvent> rated = reading.prompt(), written = writing.events();
  ASSERT_EQ(rated.size(), whole.size() - 1);
  for (size_t i = 0; i < written.size(); ++i) {
    const TokenEvent& again = rated[29 + i];
    EXPECT_EQ(again.token, written[i].token);
    EXPECT_EQ(again.logprob, written[i].logprob);
    ASSERT_EQ(again.top.size(), 3u);
    EXPECT_EQ(again.top[1].token, written[i].top[1].token);
    EXPECT_EQ(again.top[1].logprob, written[i].top[1].logprob);
  }
  EXPECT_EQ(reading.tokens().size(), 1u);
}

TEST_F(EngineRows, SeveralAnswersReadTheirPromptOnce) {
  const auto engine = make_engine();
  std::deque<Listener> listeners(4);
  for (uint32_t choice = 0; choice < 4; ++choice) {
    Request ask = request(prompt(70), 8);
    ask.sampling.temperature = 1;
    ask.sampling.choice = choice;
    ask.sink = listeners[choice].sink();
    engine->submit(std::move(ask));
  }
  int cached = 0;
  for (Listener& listener : listeners) cached += listener.wait().usage.cached_tokens;
  EXPECT_EQ(cached, 3 * 64);
}

TEST_F(EngineRows, ADeadlineEndsAnAnswer) {
  const auto engine = make_engine();
  Listener listener;
  Request ask = request(prompt(20), 200);
  ask.deadline = std::chrono::steady_clock::now();
  ask.sink = listener.sink();
  engine->submit(std::move(ask));
  const Finished finished = listener.wait();
  EXPECT_EQ(finished.reason, FinishReason::kFailed);
  ASSERT_TRUE(finished.error);
  EXPECT_EQ(finished.error->code, ErrorCode::kUnavailable);
  EXPECT_EQ(engine->stats().blocks_used, 0);
}

}  // namespace
}  // namespace carronade
