#include "chat/generation_job.h"

#include <gtest/gtest.h>

#include "chat/testing.h"
#include "engine/prefix_cache.h"

namespace carronade {
namespace {

ChatRequest question(std::string text = "Hi") {
  ChatRequest request;
  request.messages.push_back({"user", std::move(text), std::nullopt, ""});
  return request;
}

struct Scene {
  explicit Scene(std::string_view script, bool unlimited = true)
      : generator(std::make_shared<ScriptedGenerator>(test_tokens(script), unlimited)),
        model(make_test_model(generator)) {}
  std::unique_ptr<GenerationJob> start(const ChatRequest& request) {
    return GenerationJob::start(model, request, log.sink());
  }
  void finish(const ChatRequest& request) {
    const auto job = start(request);
    log.wait();
  }
  std::shared_ptr<ScriptedGenerator> generator;
  std::shared_ptr<ChatModel> model;
  EventLog log;
};

TEST(GenerationJob, TellsThoughtAnswerAndUsage) {
  Scene run("<think>hm</think>\n\nYes<|im_end|>never");
  run.finish(question());
  EXPECT_EQ(run.log.thought, "hm");
  EXPECT_EQ(run.log.answer, "Yes");
  EXPECT_EQ(run.log.finished.reason, FinishReason::kStop);
  EXPECT_EQ(run.log.finishes, 1);
  EXPECT_EQ(run.log.finished.usage.completion_tokens, 8);
  EXPECT_EQ(run.log.finished.usage.reasoning_tokens, 4);
  EXPECT_EQ(run.log.finished.usage.prompt_tokens, static_cast<int>(run.generator->last_prompt().size()));
  EXPECT_FALSE(run.log.finished.stop_token);
}

TEST(GenerationJob, EventsCarryTheIdsOfTheirTokens) {
  Scene run("<think>hm</think>\n\nYes<|im_end|>never");
  ChatRequest request = question();
  request.token_ids = true;
  std::vector<TokenId> thought, all;
  std::vector<ChatEvent> events;
  EventLog& log = run.log;
  const auto job = GenerationJob::start(run.model, request, [&, sink = log.sink()](ChatEvent event) {
    std::visit(
        [&](const auto& any) {
          if constexpr (requires { any.token_ids; }) all.insert(all.end(), any.token_ids.begin(), any.token_ids.end());
        },
        event);
    if (const auto* delta = std::get_if<ReasoningDelta>(&event))
      thought.insert(thought.end(), delta->token_ids.begin(), delta->token_ids.end());
    sink(std::move(event));
  });
  log.wait();
  EXPECT_EQ(all, test_tokens("<think>hm</think>\n\nYes<|im_end|>"));  // the end token too
  EXPECT_EQ(thought.front(), run.model->tokenizer->special_token("<think>"));
  EXPECT_EQ(log.finished.token_ids, std::vector<TokenId>{run.model->end_of_generation.front()});
}

TEST(GenerationJob, IdsAreSentOnlyWhenAskedFor) {
  Scene run("Yes<|im_end|>");
  run.finish(question());
  EXPECT_TRUE(run.log.finished.token_ids.empty());
}

TEST(GenerationJob, HandsOnWhoSharesAndWhoWaits) {
  Scene run("Yes<|im_end|>");
  ChatRequest request = question();
  request.tenant.id = 7;
  run.finish(request);
  EXPECT_EQ(run.generator->last_tenant().priority, Tenant::Priority::kNormal);
  EXPECT_EQ(run.generator->last_salt(), CacheSalt{});
  Scene other("Yes<|im_end|>");
  request.background = true;
  request.cache_salt = "secret";
  other.finish(request);
  EXPECT_EQ(other.generator->last_tenant().id, 7u);
  EXPECT_EQ(other.generator->last_tenant().priority, Tenant::Priority::kBackground);
  EXPECT_EQ(other.generator->last_salt(), cache_salt_of("secret"));
}

TEST(GenerationJob, RefusesAllowedTokensThatTheModelDoesNotHave) {
  Scene run("Yes<|im_end|>");
  for (const std::vector<TokenId>& allowed : {std::vector<TokenId>{}, std::vector<TokenId>{'Y', 100'000}}) {
    ChatRequest request = question();
    request.allowed_token_ids = std::make_shared<const std::vector<TokenId>>(allowed);
    try {
      run.start(request);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.param, "allowed_token_ids");
    }
  }
}

TEST(GenerationJob, GoesOnWithAThoughtThatTheMessageOpened) {
  Scene run("on</think>Yes<|im_end|>");
  ChatRequest request = question();
  request.messages.push_back({"assistant", "<think>So", std::nullopt, ""});
  request.add_generation_prompt = false;
  request.continue_last = true;
  run.finish(request);
  EXPECT_EQ(run.log.thought, "on");
  EXPECT_EQ(run.log.answer, "Yes");
}

TEST(GenerationJob, KnowsThatThePromptOpenedTheThought) {
  Scene run("hm</think>Yes<|im_end|>");
  ChatRequest request = question();
  request.template_arguments = {{"think", true}};
  run.finish(request);
  EXPECT_EQ(run.log.thought, "hm");
  EXPECT_EQ(run.log.answer, "Yes");
}

TEST(GenerationJob, EndsAtAStopStringWithItsToken) {
  Scene run("one two three<|im_end|>");
  ChatRequest request = question();
  request.stop = {" th", "two"};
  run.finish(request);
  EXPECT_EQ(run.log.answer, "one ");
  EXPECT_EQ(run.log.finished.reason, FinishReason::kStop);
  EXPECT_EQ(run.log.finished.stop_string, "two");
  EXPECT_EQ(run.log.finished.usage.completion_tokens, 7);  // not one token more than was needed
}

TEST(GenerationJob, EndsAtAStopTokenOfTheRequest) {
  Scene run("abc");
  ChatRequest request = question();
  request.sampling.stop_token_ids = {'c'};
  run.finish(request);
  EXPECT_EQ(run.log.answer, "ab");
  EXPECT_EQ(run.log.finished.stop_token, 'c');
}

TEST(PreparedGeneration, StartsAnswersThatDifferInTheirNumberOnly) {
  Scene run("Yes<|im_end|>");
  ChatRequest request = question();
  request.sampling.seed = 7;
  request.prompt_logprobs = 1;
  const PreparedGeneration prepared(run.model, request);
  EventLog second;
  const auto first_job = prepared.start(0, run.log.sink());
  run.log.wait();
  EXPECT_EQ(run.generator->last_sampling().choice, 0u);
  EXPECT_EQ(run.generator->last_sampling().prompt_logprobs, 1);
  const auto second_job = prepared.start(1, second.sink());
  second.wait();
  EXPECT_EQ(second.answer, "Yes");
  EXPECT_EQ(run.generator->last_sampling().choice, 1u);
  EXPECT_EQ(run.generator->last_sampling().seed, 7u);
  EXPECT_EQ(run.generator->last_sampling().prompt_logprobs, -1);  // the prompt is rated once
  EXPECT_EQ(run.generator->last_prompt(), prepared.prompt_tokens());
}

TEST(PreparedGeneration, APlainAnswerHasNoThoughtAndShowsControlTokensWhenAsked) {
  Scene run("<think>hm</think>Yes<|im_start|>");
  GenerationOptions options;
  options.plain = true;
  const PreparedGeneration prepared(run.model, Prompt{{'a'}, false}, options, "prompt");
  const auto job = prepared.start(0, run.log.sink());
  run.log.wait();
  EXPECT_EQ(run.log.thought, "");
  EXPECT_EQ(run.log.answer, "hmYes");
  options.show_special_tokens = true;
  EventLog shown;
  const auto other = PreparedGeneration(run.model, Prompt{{'a'}, false}, options, "prompt").start(0, shown.sink());
  shown.wait();
  EXPECT_EQ(shown.answer, "<think>hm</think>Yes<|im_start|>");
}

TEST(GenerationJob, AStopTokenOfTheRequestCountsEvenWhereTheModelsEndDoesNot) {
  Scene run("ab<|im_end|>c");
  ChatRequest request = question();
  request.sampling.stop_token_ids = {'c'};
  request.sampling.ignore_eos = true;
  run.finish(request);
  EXPECT_EQ(run.log.answer, "ab");
  EXPECT_EQ(run.log.finished.stop_token, 'c');
  EXPECT_EQ(run.generator->last_sampling().stop_tokens, std::vector<TokenId>{'c'});
}

TEST(GenerationJob, GivesWordsToTheEngineAsTokens) {
  Scene run("a<|im_end|>");
  ChatRequest request = question();
  request.sampling.bad_words = {"no"};
  request.sampling.dry_multiplier = 0.5f;
  run.finish(request);
  const SamplingParameters sampling = run.generator->last_sampling();
  EXPECT_EQ(sampling.bad_words, (std::vector<std::vector<TokenId>>{{'n', 'o'}, {' ', 'n', 'o'}}));
  EXPECT_EQ(sampling.dry.multiplier, 0.5f);
  ASSERT_TRUE(sampling.dry.breakers);
  for (const char breaker : std::string("\n:\"*"))
    EXPECT_TRUE(sampling.dry.breakers->single[static_cast<size_t>(breaker)]) << breaker;

  Scene refused("a");
  request.sampling.bad_words = {""};
  EXPECT_THROW(refused.start(request), Error);
  request.sampling.bad_words.reset();
  request.sampling.dry_base = 0.5f;
  EXPECT_THROW(refused.start(request), Error);
}

TEST(GenerationJob, LimitsTheAnswerToWhatIsLeftOfTheContext) {
  Scene run("abcdefghij");
  run.model->max_model_len = 60;
  ChatRequest request = question();
  run.finish(request);
  EXPECT_EQ(run.generator->last_sampling().max_tokens, 60 - static_cast<int>(run.generator->last_prompt().size()));
}

TEST(GenerationJob, SaysHowFarAPromptIsTooLong) {
  Scene run("x");
  try {
    run.start(question(std::string(2000, 'a')));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(error.param, "messages");
    for (const char* part : {"2019", "1000", "--max-model-len"})
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(GenerationJob, CancelEndsItOnce) {
  Scene run("abcdef", false);
  const auto job = run.start(question());
  run.generator->allow(2);
  job->cancel();
  run.log.wait();
  EXPECT_EQ(run.log.finished.reason, FinishReason::kCancelled);
  EXPECT_EQ(run.log.finishes, 1);
  EXPECT_LE(run.log.answer.size(), 2u);
}

TEST(GenerationJob, DestructionCancelsAndWaits) {
  Scene run("abcdef", false);
  run.start(question()).reset();
  EXPECT_EQ(run.log.finishes, 1);
  EXPECT_EQ(run.log.finished.reason, FinishReason::kCancelled);
}

TEST(GenerationJob, RefusalsThrowAndSayNothingElse) {
  Scene run("x");
  run.generator->refuse();
  EXPECT_THROW(run.start(question()), Error);
  EXPECT_EQ(run.log.finishes, 0);
}

TEST(GenerationJob, GivesLogprobsOfTheAnswerAlone) {
  Scene run("<think>hm</think>Yes<|im_end|>");
  ChatRequest request = question();
  request.sampling.logprobs = 2;
  run.finish(request);
  std::string text;
  for (const auto& detail : run.log.details) text += detail.bytes;
  EXPECT_EQ(text, "Yes");
  ASSERT_EQ(run.log.details.front().top.size(), 2u);
  EXPECT_EQ(run.log.details.front().top[1].bytes, "x");
}

TEST(Sampling, RequestComesBeforeServerBeforeModel) {
  const SamplingOptions none;
  SamplingOptions request, server;
  GenerationDefaults model;
  model.temperature = 0.6f;
  model.top_p = 0.95f;
  model.top_k = 20;
  server.temperature = 0.7f;
  request.top_k = -1;
  const ByteTokenizer tokenizer({});
  const SamplingParameters parameters = resolve_sampling(request, server, model, tokenizer, 50);
  EXPECT_EQ(parameters.temperature, 0.7f);
  EXPECT_EQ(parameters.top_p, 0.95f);
  EXPECT_EQ(parameters.top_k, 0);
  EXPECT_EQ(parameters.max_tokens, 50);
  EXPECT_NE(resolve_sampling(none, none, {}, tokenizer, 50).seed, resolve_sampling(none, none, {}, tokenizer, 50).seed);
}

TEST(Sampling, NamesTheFieldThatIsOutOfRange) {
  const auto refused = [](auto&& change) -> std::string {
    SamplingOptions request;
    change(request);
    try {
      resolve_sampling(request, {}, {}, ByteTokenizer({}), 50);
      return "accepted";
    } catch (const Error& error) {
      return error.param;
    }
  };
  EXPECT_EQ(refused([](auto& r) { r.temperature = -0.1f; }), "temperature");
  EXPECT_EQ(refused([](auto& r) { r.temperature = std::numeric_limits<float>::quiet_NaN(); }), "temperature");
  EXPECT_EQ(refused([](auto& r) { r.top_p = 0.0f; }), "top_p");
  EXPECT_EQ(refused([](auto& r) { r.min_p = 1.5f; }), "min_p");
  EXPECT_EQ(refused([](auto& r) { r.presence_penalty = 3.0f; }), "presence_penalty");
  EXPECT_EQ(refused([](auto& r) { r.frequency_penalty = -3.0f; }), "frequency_penalty");
  EXPECT_EQ(refused([](auto& r) { r.repetition_penalty = 0.0f; }), "repetition_penalty");
  EXPECT_EQ(refused([](auto& r) { r.top_k = -2; }), "top_k");
  EXPECT_EQ(refused([](auto& r) { r.max_tokens = 0; }), "max_tokens");
  EXPECT_EQ(refused([](auto& r) { r.min_tokens = 9, r.max_tokens = 8; }), "min_tokens");
  EXPECT_EQ(refused([](auto& r) { r.logprobs = 21; }), "top_logprobs");
  EXPECT_EQ(refused([](auto& r) { r.logit_bias = {{257, 1.0f}}; }), "logit_bias");
  EXPECT_EQ(refused([](auto& r) { r.stop_token_ids = {-1}; }), "stop_token_ids");
  EXPECT_EQ(refused([](auto& r) { r.dry_multiplier = -1.0f; }), "dry_multiplier");
  EXPECT_EQ(refused([](auto& r) { r.dry_base = 0.9f; }), "dry_base");
  EXPECT_EQ(refused([](auto& r) { r.dry_allowed_length = -1; }), "dry_allowed_length");
  EXPECT_EQ(refused([](auto& r) { r.dry_penalty_last_n = -2; }), "dry_penalty_last_n");
  EXPECT_EQ(refused([](auto& r) { r.dry_sequence_breakers = {std::string(41, 'x')}; }), "dry_sequence_breakers");
  EXPECT_EQ(refused([](auto& r) { r.bad_words = {""}; }), "bad_words");
  EXPECT_EQ(refused([](auto& r) { r.temperature = 0.0f; }), "accepted");
}

}  // namespace
}  // namespace carronade
