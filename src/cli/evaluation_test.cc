#include "cli/evaluation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "base/testing.h"
#include "cli/eval_input.h"
#include "cli/logprob_golden.h"
#include "model/testing.h"

namespace carronade {
namespace {

using Sequences = std::vector<std::vector<TokenId>>;

struct Answer {
  size_t sequence, position;
  TokenId token;
  std::vector<float> logits;
  std::vector<Candidate> best;
};

std::vector<Answer> answers_of(const Sequences& sequences, const EvaluationOptions& options) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "tiny.gguf";
  TinyModel{}.build().write(path);
  const auto checkpoint = Checkpoint::open(path);
  BackendOptions backend_options;
  backend_options.threads = 1;
  backend_options.float_activations = true;
  const auto backend = make_cpu_backend(backend_options);
  const auto model = Model::load(*checkpoint, *backend);
  std::vector<Answer> answers;
  evaluate(*model, *backend, sequences, options, [&](const Prediction& p) {
    answers.push_back(
        {p.sequence, p.position, p.token, {p.logits.begin(), p.logits.end()}, {p.best.begin(), p.best.end()}});
  });
  return answers;
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

Sequences some_sequences() {
  Sequences sequences(3);
  for (int i = 0; i < 40; ++i) sequences[0].push_back(i * 31 % 97);
  for (int i = 0; i < 2; ++i) sequences[1].push_back(i);
  for (int i = 0; i < 23; ++i) sequences[2].push_back(i * 7 % 97);
  return sequences;
}

TEST(Evaluation, EveryTokenButTheFirstIsPredictedOnce) {
  const Sequences sequences = some_sequences();
  const auto answers = answers_of(sequences, {});
  size_t next = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    for (size_t i = 1; i < sequences[s].size(); ++i, ++next) {
      ASSERT_LT(next, answers.size());
      EXPECT_EQ(answers[next].sequence, s);
      EXPECT_EQ(answers[next].position, i);
      EXPECT_EQ(answers[next].token, sequences[s][i]);
    }
  }
  EXPECT_EQ(next, answers.size());
}

TEST(Evaluation, ChunksChangeNoBitAndSequencesKnowNothingOfEachOther) {
  const Sequences sequences = some_sequences();
  const auto whole = answers_of(sequences, {.chunk = 128}), parts = answers_of(sequences, {.chunk = 7});
  const auto alone = answers_of({sequences[2]}, {.chunk = 128});
  ASSERT_EQ(whole.size(), parts.size());
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_EQ(whole[i].logits, parts[i].logits) << i;
  for (size_t i = 0; i < alone.size(); ++i)
    EXPECT_EQ(alone[i].logits, whole[whole.size() - alone.size() + i].logits) << i;
}

TEST(Evaluation, ProbabilitiesSumToOne) {
  std::vector<float> scratch;
  for (const Answer& answer : answers_of({some_sequences()[2]}, {.top = 5})) {
    ASSERT_EQ(answer.best.size(), 5u);
    const double log_sum = log_sum_exp(answer.logits);
    double sum = 0;
    std::vector<TokenId> listed;
    for (const Candidate& candidate : answer.best) {
      sum += std::exp(static_cast<double>(candidate.logit) - log_sum);
      listed.push_back(candidate.token);
    }
    EXPECT_NEAR(sum + std::exp(log_rest(answer.logits, log_sum, listed, scratch)), 1.0, 1e-6);
  }
}

TEST(Evaluation, RefusesWhatCannotBeBeforeAnyWork) {
  EXPECT_NE(error_of([] { answers_of({{1, 2}, {3}}, {}); }).find("sequence 1 has 1 tokens"), std::string::npos);
  EXPECT_NE(error_of([] { answers_of({{1, 97}}, {}); }).find("token 1 of sequence 0 is 97"), std::string::npos);
  EXPECT_NE(error_of([] { answers_of({{-1, 2}}, {}); }).find("from 0 to 96"), std::string::npos);
  const std::vector<TokenId> long_one(513, 1);
  EXPECT_NE(error_of([&] { answers_of({long_one}, {}); }).find("context only 512"), std::string::npos);
}

TEST(Evaluation, LogitsThatAreNoNumbersAreAnError) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(log_sum_exp(std::vector<float>{0.0f, nan, 1.0f}), Error);
  EXPECT_THROW(log_sum_exp(std::vector<float>{0.0f, std::numeric_limits<float>::infinity()}), Error);
}

TEST(Mean, HasItsError) {
  Mean mean;
  for (const double value : {2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0}) mean.add(value);
  EXPECT_DOUBLE_EQ(mean.mean(), 5.0);
  EXPECT_NEAR(mean.error(), std::sqrt(32.0 / 7 / 8), 1e-12);
}

// ---- Goldens

template <typename T>
void put(std::string& out, const std::vector<T>& values) {
  const size_t at = out.size();
  out.resize(at + values.size() * sizeof(T));
  std::memcpy(out.data() + at, values.data(), values.size() * sizeof(T));
}

// Two positions, two listed tokens each: 0.5 and 0.25 of the mass, the rest 0.25.
std::string golden_file(const std::string& head_end = R"("sequences": [[7, 0, 2]]})") {
  std::string file = R"({"format": "carronade-logprobs", "version": 1, "model": "m", "oracle": "o", "top": 2, )"
                     R"("unit": 0.00048828125, "names": ["one"], )" +
                     head_end + "\n";
  const auto half = static_cast<uint16_t>(std::lround(std::log(2.0) * 2048));
  put<uint32_t>(file, {0, 1, 2, 3});
  put<uint16_t>(file, {half, static_cast<uint16_t>(2 * half), half, static_cast<uint16_t>(2 * half)});
  const auto quarter = static_cast<float>(std::log(0.25));
  put<float>(file, {quarter, quarter});
  put<float>(file, {quarter / 2, quarter / 2});
  return file;
}

LogprobGolden read_golden(const std::string& content) {
  const TemporaryDirectory directory;
  write_file_atomically(directory.path() / "g", content);
  return LogprobGolden::read(directory.path() / "g");
}

double divergence_of(const std::vector<float>& logits) {
  std::vector<float> scratch;
  return divergence(read_golden(golden_file()), 1, logits, log_sum_exp(logits), scratch);
}

TEST(LogprobGolden, IsReadAsWritten) {
  const LogprobGolden golden = read_golden(golden_file());
  EXPECT_EQ(golden.positions(), 2u);
  EXPECT_EQ(golden.sequences, (Sequences{{7, 0, 2}}));
  EXPECT_EQ(golden.tokens_at(1)[0], 2);
  EXPECT_NEAR(golden.logprobs_at(1)[1], std::log(0.25), 1.0 / 2048);
}

TEST(LogprobGolden, DivergenceIsTheTextbooks) {
  // Of five tokens the golden lists 2 and 3; 0, 1 and 4 share the rest.
  const auto logs = [](const std::vector<double>& p) {
    std::vector<float> logits;
    for (const double x : p) logits.push_back(static_cast<float>(std::log(x) + 3));
    return logits;
  };
  EXPECT_NEAR(divergence_of(logs({0.1, 0.1, 0.5, 0.25, 0.05})), 0.0, 1e-6);
  EXPECT_NEAR(divergence_of(logs({0.2, 0.2, 0.25, 0.25, 0.1})), 0.5 * std::log(2) + 0.25 * std::log(0.5), 1e-3);
  EXPECT_GT(divergence_of(logs({0.98, 0.005, 0.005, 0.005, 0.005})), 1.0);
}

TEST(LogprobGolden, AModelWithoutItsTokensIsRefused) {
  EXPECT_NE(error_of([] { divergence_of({1.0f, 2.0f, 3.0f}); }).find("token 3"), std::string::npos);
}

TEST(LogprobGolden, DamagedFilesAreRefused) {
  const std::string good = golden_file();
  for (const size_t cut : {size_t{0}, size_t{5}, good.find('\n'), good.find('\n') + 1, good.size() - 1}) {
    EXPECT_THROW(read_golden(good.substr(0, cut)), Error) << cut;
  }
  EXPECT_NE(error_of([&] { read_golden(good + "x"); }).find("longer"), std::string::npos);
  EXPECT_THROW(read_golden(golden_file(R"("sequences": [[7]]})")), Error);
  EXPECT_THROW(read_golden(golden_file(R"("sequences": [[7, 0, 2], [1, 2]]})")), Error);
  EXPECT_THROW(read_golden(golden_file(R"("sequences": [[7, 0, 2]], "top": 100000})")), Error);
  EXPECT_THROW(read_golden(golden_file(R"("sequences": [[7, 0, 2]], "unit": 0})")), Error);
  EXPECT_THROW(read_golden(golden_file(R"("sequences": "seven"})")), Error);
}

// ---- Vectors

std::vector<std::vector<float>> vectors_of(const Sequences& sequences) {
  const TemporaryDirectory directory;
  TinyBert{}.build().write(directory.path() / "tiny.gguf");
  BackendOptions options;
  options.threads = 1;
  const auto backend = make_cpu_backend(options);
  const auto model = Model::load(*Checkpoint::open(directory.path() / "tiny.gguf"), *backend);
  std::vector<std::vector<float>> vectors;
  embed(*model, *backend, sequences, DType::kF16, [&](size_t sequence, std::span<const float> vector) {
    EXPECT_EQ(sequence, vectors.size());
    vectors.emplace_back(vector.begin(), vector.end());
  });
  return vectors;
}

TEST(Embedding, GivesEachSequenceItsVectorWhateverIsBesideIt) {
  const Sequences texts = {{1, 2, 3}, {5}, {4, 3, 2, 1}};
  const auto vectors = vectors_of(texts);
  ASSERT_EQ(vectors.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(vectors[i].size(), 64u);
    EXPECT_EQ(vectors_of({texts[i]})[0], vectors[i]);
  }
  EXPECT_NE(vectors[0], vectors[2]);
  EXPECT_TRUE(vectors_of({}).empty());
}

TEST(Embedding, RefusesWhatTheModelCannotRead) {
  EXPECT_NE(error_of([] { vectors_of({{}}); }).find("one is needed"), std::string::npos);
  EXPECT_NE(error_of([] { vectors_of({{1, 97}}); }).find("97"), std::string::npos);
  EXPECT_NE(error_of([] { vectors_of({std::vector<TokenId>(41, 1)}); }).find("context"), std::string::npos);
}

// ---- What is read

TEST(EvalInput, TokensComeAsOneArrayAsManyOrByLines) {
  const Sequences two = {{1, 2, 3}, {4, 5}};
  EXPECT_EQ(parse_token_sequences("[1, 2,\n 3]", "f"), (Sequences{{1, 2, 3}}));
  EXPECT_EQ(parse_token_sequences("[[1,2,3],[4,5]]", "f"), two);
  EXPECT_EQ(parse_token_sequences("[1,2,3]\n\n[4,5]\r\n", "f"), two);
  EXPECT_NE(error_of([] { parse_token_sequences("[1,2]\n[3,", "f"); }).find("f, line 2"), std::string::npos);
  EXPECT_NE(error_of([] { parse_token_sequences("[1,\"a\"]", "f"); }).find("\"a\" is not a token id"),
            std::string::npos);
  EXPECT_NE(error_of([] { parse_token_sequences("[1,-2]", "f"); }).find("-2"), std::string::npos);
  EXPECT_NE(error_of([] { parse_token_sequences("{}", "f"); }).find("array"), std::string::npos);
}

TEST(EvalInput, LinesAreTextsOfTheirOwn) {
  TokenizerData data;
  data.model = "bert";
  data.tokens = {"[UNK]", "[CLS]", "[SEP]", "\u2581ab", "cd"};
  data.unknown = 0, data.bos = 1, data.eos = 2;
  data.add_bos = data.add_eos = true;
  const auto tokenizer = Tokenizer::create(data);
  EXPECT_EQ(split_lines(*tokenizer, "ab\n\n abcd \n"), (Sequences{{1, 3, 2}, {1, 3, 4, 2}}));
  EXPECT_TRUE(split_lines(*tokenizer, "\n \n").empty());
}

TEST(EvalInput, ShorteningTakesTheSameShareOfEach) {
  Sequences sequences = {std::vector<TokenId>(11, 1), std::vector<TokenId>(4, 2), std::vector<TokenId>(11, 3)};
  shorten(sequences, 13);  // of 10 + 3 + 10
  EXPECT_EQ(sequences[0].size(), 6u);
  EXPECT_EQ(sequences[1].size(), 4u);
  EXPECT_EQ(sequences[2].size(), 6u);
  shorten(sequences, 1000);
  EXPECT_EQ(sequences[0].size(), 6u);
}

}  // namespace
}  // namespace carronade
