// The whole engine over a tiny random model on the reference backend.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <set>
#include <thread>

#include <sys/resource.h>

#include "base/error.h"
#include "engine/kv_budget.h"
#include "engine/metrics.h"
#include "engine/testing.h"

namespace carronade {
namespace {

TEST_F(EngineTest, AnswersAndCounts) {
  const auto engine = make_engine();
  Listener listener;
  Request ask = request(prompt(20), 12);
  ask.sink = listener.sink();
  engine->submit(std::move(ask));
  const Finished finished = listener.wait();
  EXPECT_EQ(finished.reason, FinishReason::kLength);
  EXPECT_EQ(finished.usage.prompt_tokens, 20);
  EXPECT_EQ(finished.usage.completion_tokens, 12);
  EXPECT_EQ(finished.usage.cached_tokens, 0);
  EXPECT_EQ(listener.tokens().size(), 12u);
  EXPECT_GT(finished.timing.prefill, 0.0);
  EXPECT_GT(finished.timing.decode, 0.0);
  EXPECT_FALSE(finished.error);
}

TEST_F(EngineTest, WithoutPacingAPromptTakesAStepWhoeverStreams) {
  EngineOptions options = small_options();
  options.max_num_batched_tokens = 200;
  options.pace = false;
  const auto engine = make_engine(options);
  Listener streams;
  Request ask = request(prompt(4), 200);
  ask.sink = streams.sink();
  engine->submit(std::move(ask));
  streams.wait_for_tokens(2);
  answer(*engine, request(prompt(150, 2), 1));
  streams.wait();
  const HistogramValues rows = engine->metrics().step_rows.values();
  uint64_t large = 0;
  for (size_t i = 0; i < rows.counts.size(); ++i) large += i > 0 && rows.bounds[i - 1] >= 128 ? rows.counts[i] : 0;
  EXPECT_EQ(large, 1u);  // steps of more than 128 rows; paced ones are half of that
}

TEST_F(EngineTest, TheSameAnswerWhateverTheLoadTheChunksAndTheCache) {
  // Alone, the prompt in one chunk, nothing cached.
  EngineOptions alone = small_options();
  alone.max_num_seqs = 1;
  alone.max_num_batched_tokens = 300;
  alone.prefix_cache = false;
  std::vector<Request> asks(6);
  const auto make = [&](int i) {
    Request ask = request(prompt(10 + 23 * i, i / 2), 40);
    ask.sampling.temperature = i % 3 == 0 ? 0.0f : 0.9f;
    ask.sampling.seed = static_cast<uint64_t>(i);
    ask.sampling.top_p = i % 2 == 0 ? 0.9f : 1.0f;
    return ask;
  };
  std::vector<Tokens> expected;
  {
    const auto engine = make_engine(alone);
    for (int i = 0; i < 6; ++i) expected.push_back(answer(*engine, make(i)));
  }
  EXPECT_NE(expected[0], expected[1]);
  // All at once, in a pool so small that they preempt each other, in chunks.
  EngineOptions crowded = small_options();
  crowded.max_num_batched_tokens = 37;
  crowded.kv_bytes = 22 * 2 * 2 * 2 * 16 * 16 * 2;  // 22 blocks: layers, sides, heads, positions, head_dim, bytes
  for (const bool cache : {false, true}) {
    crowded.prefix_cache = cache;
    const auto engine = make_engine(crowded);
    for (int round = 0; round < 2; ++round) {
      std::vector<Listener> listeners(6);
      for (int i = 0; i < 6; ++i) {
        Request ask = make(i);
        ask.sink = listeners[static_cast<size_t>(i)].sink();
        engine->submit(std::move(ask));
      }
      for (size_t i = 0; i < 6; ++i) {
        const Finished finished = listeners[i].wait();
        EXPECT_EQ(finished.reason, FinishReason::kLength);
        EXPECT_EQ(listeners[i].tokens(), expected[i]) << "request " << i << ", round " << round << ", cache " << cache;
      }
    }
    const EngineStats stats = engine->stats();
    EXPECT_GT(stats.preemptions, 0u);
    EXPECT_EQ(stats.cached_tokens > 0, cache);
  }
}

TEST_F(EngineTest, ASecondTurnFindsTheFirstInTheCache) {
  const auto engine = make_engine();
  Tokens dialogue = prompt(50);
  const Tokens first = answer(*engine, request(dialogue, 20));
  dialogue.insert(dialogue.end(), first.begin(), first.end());
  dialogue.push_back(5);
  Listener listener;
  Request ask = request(dialogue, 4);
  ask.sink = listener.sink();
  engine->submit(std::move(ask));
  EXPECT_EQ(listener.wait().usage.cached_tokens, 64);  // 69 positions were computed: four whole blocks
}

TEST_F(EngineTest, StopTokensEndTheAnswerAndAreNotPartOfIt) {
  const auto engine = make_engine();
  const Tokens whole = answer(*engine, request(prompt(9), 30));
  const TokenId stop = whole[7];
  const auto first = static_cast<size_t>(std::find(whole.begin(), whole.end(), stop) - whole.begin());
  Listener listener;
  Request ask = request(prompt(9), 30);
  ask.sampling.stop_tokens = {stop};
  ask.sink = listener.sink();
  engine->submit(std::move(ask));
  const Finished finished = listener.wait();
  EXPECT_EQ(finished.reason, FinishReason::kStop);
  EXPECT_EQ(finished.stop_token, stop);
  EXPECT_EQ(listener.tokens(), Tokens(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(first)));

  Request patient = request(prompt(9), 30);
  patient.sampling.stop_tokens = {stop};
  patient.sampling.min_tokens = 12;
  const Tokens longer = answer(*engine, std::move(patient));
  EXPECT_GE(longer.size(), 12u);
  EXPECT_EQ(std::count(longer.begin(), longer.begin() + 12, stop), 0);
}

TEST_F(EngineTest, BadWordsNeverComeAndTheirBeginningsMay) {
  const auto engine = make_engine();
  const Tokens whole = answer(*engine, request(prompt(9), 30));
  // The whole answer of the model is forbidden at its 11th token only; from there another comes.
  Request ask = request(prompt(9), 30);
  ask.sampling.bad_words = {Tokens(whole.begin() + 7, whole.begin() + 11)};
  const Tokens kept = answer(*engine, std::move(ask));
  EXPECT_EQ(Tokens(kept.begin(), kept.begin() + 10), Tokens(whole.begin(), whole.begin() + 10));
  EXPECT_NE(kept[10], whole[10]);

  Request never = request(prompt(9), 30);
  for (const TokenId token : whole) never.sampling.bad_words.push_back({token});
  const Tokens others = answer(*engine, std::move(never));
  for (const TokenId token : whole) EXPECT_EQ(std::count(others.begin(), others.end(), token), 0) << token;
}

TEST_F(EngineTest, DryLooksAtPromptAndAnswer) {
  const auto engine = make_engine();
  const auto repeated_pairs = [&](float multiplier) {
    Request ask = request(prompt(60), 60);
    ask.sampling.dry = {
        .multiplier = multiplier, .base = 1.75f, .allowed_length = 1, .penalty_last_n = -1, .breakers = nullptr};
    Tokens tokens = prompt(60);
    for (const TokenId token : answer(*engine, std::move(ask))) tokens.push_back(token);
    std::set<std::pair<TokenId, TokenId>> seen;
    int repeated = 0;
    for (size_t i = 1; i < tokens.size(); ++i)
      repeated += !seen.insert({tokens[i - 1], tokens[i]}).second && i >= 60 ? 1 : 0;
    return repeated;
  };
  EXPECT_GT(repeated_pairs(0), 0);
  EXPECT_EQ(repeated_pairs(1e6f), 0);
}

TEST_F(EngineTest, TheContextsEndIsALength) {
  const auto engine = make_engine();
  Listener listener;
  Request ask = request(prompt(250), 0);
  ask.sink = listener.sink();
  engine->submit(std::move(ask));
  EXPECT_EQ(listener.wait().reason, FinishReason::kLength);
  EXPECT_EQ(listener.tokens().size(), 6u);
}

TEST_F(EngineTest, RefusesAtOnceWhatCanNeverRun) {
  const auto engine = make_engine();
  EXPECT_THROW(engine->submit(request({}, 1)), Error);
  EXPECT_THROW(engine->submit(request({97}, 1)), Error);
  EXPECT_THROW(engine->submit(request({-1}, 1)), Error);
  Request adapted = request({1}, 1);
  adapted.adapter = 0;
  EXPECT_THROW(engine->submit(std::move(adapted)), Error);
  try {
    engine->submit(request(prompt(256), 1));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("256"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("--max-model-len"), std::string::npos);
  }
}

TEST_F(EngineTest, AFullQueueIsUnavailable) {
  EngineOptions options = small_options();
  options.max_waiting = 0;
  const auto engine = make_engine(options);
  try {
    engine->submit(request(prompt(3), 1));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kUnavailable);
  }
}

TEST_F(EngineTest, LogprobsAreThoseOfTheModel) {
  const auto engine = make_engine();
  Listener listener;
  Request ask = request(prompt(9), 8);
  ask.sampling.temperature = 1.3f;
  ask.sampling.top_k = 3;
  ask.sampling.logprobs = 20;
  ask.sampling.logit_bias = {{4, -100.0f}};
  ask.sink = listener.sink();
  engine->submit(std::move(ask));
  listener.wait();
  for (const TokenEvent& event : listener.events()) {
    ASSERT_EQ(event.top.size(), 20u);
    double mass = 0;
    for (size_t i = 0; i < event.top.size(); ++i) {
      mass += std::exp(static_cast<double>(event.top[i].logprob));
      if (i > 0) {
        EXPECT_LE(event.top[i].logprob, event.top[i - 1].logprob);
      }
      if (event.top[i].token == event.token) {
        EXPECT_EQ(event.top[i].logprob, event.logprob);
      }
    }
    EXPECT_LT(mass, 1.0 + 1e-5);
    EXPECT_GT(mass, 0.2);
    EXPECT_LT(event.logprob, 0.0f);
  }
  Request bare = request(prompt(9), 2);
  Listener second;
  bare.sampling.logprobs = 0;
  bare.sink = second.sink();
  engine->submit(std::move(bare));
  second.wait();
  EXPECT_TRUE(second.events()[0].top.empty());
  EXPECT_LT(second.events()[0].logprob, 0.0f);
}

TEST_F(EngineTest, SeedsRepeatAndChoicesDiffer) {
  const auto engine = make_engine();
  const auto draw = [&](uint64_t seed, uint32_t choice) {
    Request ask = request(prompt(9), 24);
    ask.sampling.temperature = 1.0f;
    ask.sampling.seed = seed;
    ask.sampling.choice = choice;
    return answer(*engine, std::move(ask));
  };
  EXPECT_EQ(draw(1, 0), draw(1, 0));
  EXPECT_NE(draw(1, 0), draw(2, 0));
  EXPECT_NE(draw(1, 0), draw(1, 1));
}

TEST_F(EngineTest, PenaltiesHoldBackWhatWasSaid) {
  const auto engine = make_engine();
  Request ask = request(prompt(9), 60);
  ask.sampling.presence_penalty = 1000.0f;
  const Tokens tokens = answer(*engine, std::move(ask));
  EXPECT_EQ(std::set<TokenId>(tokens.begin(), tokens.end()).size(), 60u);  // no token twice
}

TEST_F(EngineTest, CancelEndsWithinAStepAndFreesTheBlocks) {
  const auto engine = make_engine();
  Listener cancelled, other;
  Request ask = request(prompt(9), 200), second = request(prompt(12), 60);
  ask.sink = cancelled.sink();
  second.sink = other.sink();
  const RequestId id = engine->submit(std::move(ask));
  engine->submit(std::move(second));
  cancelled.wait_for_tokens(3);
  engine->cancel(id);
  engine->cancel(id);
  engine->cancel(12345678);
  EXPECT_EQ(cancelled.wait().reason, FinishReason::kCancelled);
  EXPECT_LT(cancelled.tokens().size(), 200u);
  EXPECT_EQ(other.wait().reason, FinishReason::kLength);
  EXPECT_EQ(answer(*engine, request(prompt(5), 3)).size(), 3u);  // it goes on; and by then the stats know
  while (engine->stats().requests_finished < 3) std::this_thread::yield();
  EXPECT_EQ(engine->stats().blocks_used, 0);
}

TEST_F(EngineTest, BackgroundEndsAndComesNoMore) {
  EngineOptions options = small_options();
  options.max_num_seqs = 2;
  auto engine = make_engine(options);
  Listener running, waiting, late, interactive;
  const auto submit = [&](Listener& listener, Tenant::Priority priority, EventSink sink = nullptr) {
    Request one = request(prompt(20), 200);
    one.tenant.priority = priority;
    one.sink = sink ? std::move(sink) : listener.sink();
    engine->submit(std::move(one));
  };
  std::promise<void> told;  // until then the engine stands still behind its first token
  submit(running, Tenant::Priority::kBackground,
         [hear = running.sink(), wait = told.get_future().share()](EngineEvent event) {
           hear(std::move(event));
           wait.wait();
         });
  running.wait_for_tokens(1);
  submit(interactive, Tenant::Priority::kNormal);
  submit(waiting, Tenant::Priority::kBackground);
  engine->end_background();
  submit(late, Tenant::Priority::kBackground);
  told.set_value();
  for (Listener* listener : {&running, &waiting, &late}) {
    const Finished end = listener->wait();
    EXPECT_EQ(end.reason, FinishReason::kFailed);
    ASSERT_TRUE(end.error);
    EXPECT_EQ(end.error->code, ErrorCode::kUnavailable);
  }
  EXPECT_LT(running.tokens().size(), 200u);
  EXPECT_TRUE(late.tokens().empty());
  EXPECT_NE(interactive.wait().reason, FinishReason::kFailed);
}

TEST_F(EngineTest, ACancellationThatFollowsAtOnceIsHeard) {
  const auto engine = make_engine();
  std::vector<Listener> listeners(50);
  for (Listener& listener : listeners) {
    Request ask = request(prompt(9), 0);
    ask.sink = listener.sink();
    engine->cancel(engine->submit(std::move(ask)));
  }
  for (Listener& listener : listeners) EXPECT_EQ(listener.wait().reason, FinishReason::kCancelled);
}

TEST_F(EngineTest, TheDestructorCancelsWhatRunsAndWhatWaits) {
  std::vector<Listener> listeners(10);
  {
    const auto engine = make_engine();
    for (Listener& listener : listeners) {
      Request ask = request(prompt(9), 0);
      ask.sink = listener.sink();
      engine->submit(std::move(ask));
    }
    listeners[0].wait_for_tokens(1);
  }
  for (Listener& listener : listeners) {
    EXPECT_TRUE(listener.has_finished());
    EXPECT_EQ(listener.wait().reason, FinishReason::kCancelled);
  }
}

TEST_F(EngineTest, AListenerThatThrowsIsCancelledAndHarmsNobody) {
  const auto engine = make_engine();
  Request bad = request(prompt(9), 100);
  bad.sink = [](const EngineEvent&) { throw std::runtime_error("gone"); };
  engine->submit(std::move(bad));
  EXPECT_EQ(answer(*engine, request(prompt(5), 3)).size(), 3u);
}

TEST_F(EngineTest, ManyThreadsMaySubmitAndCancel) {
  const auto engine = make_engine();
  const Tokens expected = answer(*engine, request(prompt(9), 10));
  std::atomic<int> cancelled{0}, answered{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 15; ++i) {
        Listener listener;
        Request ask = request(prompt(9), 10);
        ask.sink = listener.sink();
        const RequestId id = engine->submit(std::move(ask));
        if ((i + t) % 3 == 0) engine->cancel(id);
        (void)engine->stats();
        if (listener.wait().reason == FinishReason::kCancelled) {
          ++cancelled;
        } else {
          ++answered;
          EXPECT_EQ(listener.tokens(), expected);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cancelled + answered, 60);
  EXPECT_GE(answered, 40);
}

TEST_F(EngineTest, IdleItUsesNoTime) {
  const auto engine = make_engine();
  answer(*engine, request(prompt(5), 3));
  while (engine->stats().requests_finished < 1) std::this_thread::yield();
  const auto steps = engine->stats().steps;
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // what is measured, not a way to wait for something
  ::getrusage(RUSAGE_SELF, &after);
  const auto micros = [](const timeval& t) { return t.tv_sec * 1000000 + t.tv_usec; };
  EXPECT_LT(micros(after.ru_utime) + micros(after.ru_stime) - micros(before.ru_utime) - micros(before.ru_stime),
            100000);
  EXPECT_EQ(engine->stats().steps, steps);
}

// A constraint by lambdas.
struct Scripted final : Constraint {
  std::function<bool(std::span<uint32_t>)> mask = [](auto) { return false; };
  std::function<Verdict(int32_t)> on_token = [](int32_t) { return Continue{}; };
  bool fill_mask(std::span<uint32_t> bits) override { return mask(bits); }
  Verdict accept(int32_t token) override { return on_token(token); }
  void rollback(int) override {}
};

TEST_F(EngineTest, AConstraintForbidsStopsAndForces) {
  const auto engine = make_engine();
  Request masked = request(prompt(9), 20);
  auto constraint = std::make_unique<Scripted>();
  constraint->mask = [](std::span<uint32_t> bits) {
    EXPECT_EQ(bits.size(), 4u);
    for (uint32_t& word : bits) {
      EXPECT_EQ(word, ~0u);
      word = 0;
    }
    bits[1] = 0b110000;  // 36 and 37
    return true;
  };
  masked.constraint = std::move(constraint);
  for (const TokenId token : answer(*engine, std::move(masked))) EXPECT_TRUE(token == 36 || token == 37);

  for (const int logprobs : {-1, 2}) {
    Listener listener;
    Request forced = request(prompt(9), 20);
    forced.sampling.logprobs = logprobs;
    constraint = std::make_unique<Scripted>();
    int heard = 0;
    std::vector<int32_t> accepted;
    constraint->on_token = [&](int32_t token) -> Constraint::Verdict {
      accepted.push_back(token);
      ++heard;
      if (heard == 3) return Constraint::Force{{50, 51, 52}};
      if (heard == 9) return Constraint::Stop{};
      return Constraint::Continue{};
    };
    forced.constraint = std::move(constraint);
    forced.sink = listener.sink();
    engine->submit(std::move(forced));
    const Finished finished = listener.wait();
    EXPECT_EQ(finished.reason, FinishReason::kStop);
    EXPECT_EQ(finished.stop_token, -1);
    const Tokens tokens = listener.tokens();
    ASSERT_EQ(tokens.size(), 9u);
    EXPECT_EQ(Tokens(tokens.begin() + 3, tokens.begin() + 6), (Tokens{50, 51, 52}));
    EXPECT_EQ(tokens, accepted);
    // What follows is what follows those tokens, had they been in the prompt.
    Tokens longer = prompt(9);
    longer.insert(longer.end(), tokens.begin(), tokens.begin() + 6);
    EXPECT_EQ(answer(*engine, request(longer, 3)), Tokens(tokens.begin() + 6, tokens.end()));
    if (logprobs >= 0) {
      for (const TokenEvent& event : listener.events()) EXPECT_TRUE(event.logprob < 0 && event.top.size() == 2);
    }
  }
}

TEST_F(EngineTest, AConstraintThatFailsFailsItsRequestOnly) {
  const auto engine = make_engine();
  Listener failing, other;
  Request bad = request(prompt(9), 20), good = request(prompt(12), 20);
  auto constraint = std::make_unique<Scripted>();
  constraint->mask = [](std::span<uint32_t> bits) {
    std::fill(bits.begin(), bits.end(), 0u);
    return true;
  };
  bad.constraint = std::move(constraint);
  bad.sink = failing.sink();
  good.sink = other.sink();
  engine->submit(std::move(bad));
  engine->submit(std::move(good));
  const Finished finished = failing.wait();
  EXPECT_EQ(finished.reason, FinishReason::kFailed);
  ASSERT_TRUE(finished.error);
  EXPECT_EQ(other.wait().reason, FinishReason::kLength);
}

TEST(ChooseLimits, FillsInAndRefusesWithNumbers) {
  ModelConfig config;
  config.context_length = 131072;
  const KvLayout layout{28, 2, 128, DType::kF16};  // 448 KiB a block
  EngineOptions options;
  EXPECT_EQ(choose_limits(config, layout, 64ull << 30, 0, options), 16 * 256);
  EXPECT_EQ(options.max_model_len, 4096);
  EXPECT_EQ(options.max_num_seqs, 16);
  EXPECT_EQ(options.kv_bytes, 16 * 256 * block_bytes(layout));

  options = {};
  EXPECT_EQ(choose_limits(config, layout, 1ull << 30, 0, options),
            static_cast<int>((1ull << 29) / block_bytes(layout)));

  options = {};
  options.max_model_len = kLongestThatFits;
  choose_limits(config, layout, 64ull << 30, 0, options);
  EXPECT_EQ(options.max_model_len, config.context_length);
  options = {};
  options.max_model_len = kLongestThatFits;
  EXPECT_EQ(choose_limits(config, layout, 1ull << 30, 0, options),
            static_cast<int>((1ull << 29) / block_bytes(layout)));
  EXPECT_EQ(options.max_model_len, static_cast<int>((1ull << 29) / block_bytes(layout)) * kBlockPositions);

  const auto refusal = [&](EngineOptions refused, uint64_t available = 64ull << 30) {
    try {
      choose_limits(config, layout, available, 0, refused);
    } catch (const Error& error) {
      return error.param;
    }
    return std::string();
  };
  options = {};
  options.max_model_len = 131073;
  EXPECT_EQ(refusal(options), "max_model_len");
  options = {};
  EXPECT_EQ(refusal(options, 1 << 20), "max_model_len");
  options.max_model_len = -2;
  EXPECT_EQ(refusal(options), "max_model_len");
  options.max_model_len = 0;
  options.kv_bytes = 1 << 20;
  EXPECT_EQ(refusal(options), "max_model_len");
  options = {};
  options.max_num_seqs = 1'000'000;
  EXPECT_EQ(refusal(options), "max_num_seqs");
  options = {};
  options.max_num_batched_tokens = 1'000'000;
  EXPECT_EQ(refusal(options), "max_num_batched_tokens");

  // A budget for everything: weights and logits come out of it.
  config.vocabulary = 150'000;
  options = {};
  options.memory_bytes = 3ull << 30;
  choose_limits(config, layout, 64ull << 30, 1ull << 30, options);
  EXPECT_LT(options.kv_bytes, (2ull << 30) - 48ull * 150'000 * 4);
  EXPECT_GT(options.kv_bytes, 19ull << 26);
  EngineOptions many = {};
  many.memory_bytes = 3ull << 30;
  many.max_num_seqs = 512;
  choose_limits(config, layout, 64ull << 30, 1ull << 30, many);
  EXPECT_LT(many.kv_bytes + 496ull * 150'000 * 4, options.kv_bytes + block_bytes(layout));
  options = {};
  options.memory_bytes = 1ull << 30;
  const auto too_small = [&] { choose_limits(config, layout, 64ull << 30, 1ull << 30, options); };
  EXPECT_THROW(too_small(), Error);
  options = {};
  options.max_num_seqs = 64;
  options.max_num_batched_tokens = 64;
  EXPECT_EQ(refusal(options), "max_num_batched_tokens");
}

}  // namespace
}  // namespace carronade
