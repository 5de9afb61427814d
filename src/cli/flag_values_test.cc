#include "cli/flag_values.h"

#include <gtest/gtest.h>

#include "base/duration.h"
#include "base/error.h"
#include "cli/open_model.h"

namespace carronade {
namespace {

// The message of the Error that `read` throws; it must name the flag and what was given.
template <typename Read>
std::string refusal(Read&& read, const std::string& flag) {
  try {
    read();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find(flag), std::string::npos) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return "";
}

TEST(FlagValues, Ports) {
  EXPECT_EQ(parse_port("0", "--port"), 0);
  EXPECT_EQ(parse_port("8000", "--port"), 8000);
  EXPECT_EQ(parse_port("65535", "--port"), 65535);
  for (const char* text : {"65536", "99999999999999999999", "-1", "80x", " 80", "", "0x50", "1.0"})
    EXPECT_NE(refusal([&] { parse_port(text, "--port"); }, "--port").find("65535"), std::string::npos) << text;
  const std::string line = refusal([] { parse_port("tcp://10.0.0.1:8000", "--port"); }, "--port");
  EXPECT_NE(line.find("VLLM_PORT"), std::string::npos);
}

TEST(FlagValues, Sizes) {
  const std::pair<const char*, uint64_t> cases[] = {{"0", 0},
                                                    {"1000000", 1'000'000},
                                                    {"4GiB", 4ull << 30},
                                                    {"4 gib", 4ull << 30},
                                                    {"4G", 4ull << 30},
                                                    {"500MB", 500'000'000},
                                                    {"500 mb", 500'000'000},
                                                    {"1.5K", 1536},
                                                    {"0.5TiB", 1ull << 39},
                                                    {"2T", 2ull << 40},
                                                    {"7b", 7},
                                                    {"4194304T", 1ull << 62}};
  for (const auto& [text, bytes] : cases) EXPECT_EQ(parse_size(text, "--kv-disk"), bytes) << text;
}

TEST(FlagValues, WhatIsNoSizeIsRefused) {
  for (const char* text : {"", "GiB", "4 Gigs", "-4GiB", "+4GiB", "4GiB ", "1.2.3", ".", ".5G", "1e3", "4,5G", "inf",
                           "nan", "0x10", "5000000T", "99999999999999999999999999"})
    EXPECT_NE(refusal([&] { parse_size(text, "--kv-disk"); }, "--kv-disk").find(text), std::string::npos) << text;
}

TEST(FlagValues, CountsAsVllmWritesThem) {
  const std::pair<const char*, int> cases[] = {{"0", 0},
                                               {"4096", 4096},
                                               {"1k", 1000},
                                               {"1K", 1024},
                                               {"25.6k", 25600},
                                               {"32K", 32768},
                                               {"2m", 2'000'000},
                                               {"1M", 1048576},
                                               {"0.5k", 500},
                                               {"1.001k", 1001},
                                               {"2.147483647g", 2147483647}};
  for (const auto& [text, count] : cases) EXPECT_EQ(parse_count(text, "--max-model-len"), count) << text;
  for (const char* text :
       {"", "k", "25.6K", "4.0", "-5", "1kk", "1 k", "4096 ", "1e3", "many", "2G", "2147483648", "1t"})
    EXPECT_NE(refusal([&] { parse_count(text, "--max-model-len"); }, "--max-model-len").find(text), std::string::npos);
}

TEST(FlagValues, ALengthMayBeLeftToWhatFits) {
  EXPECT_EQ(parse_model_length("auto"), kLongestThatFits);
  EXPECT_EQ(parse_model_length("-1"), kLongestThatFits);
  EXPECT_EQ(parse_model_length("8k"), 8000);
  refusal([] { parse_model_length("-2"); }, "--max-model-len");
}

TEST(FlagValues, GuessedTokens) {
  EXPECT_EQ(speculative_tokens(""), kGuessedTokens);
  EXPECT_EQ(speculative_tokens("{}"), kGuessedTokens);
  EXPECT_EQ(speculative_tokens(R"({"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4})"), 5);
  EXPECT_EQ(speculative_tokens(R"({"num_speculative_tokens": 0})"), 0);
  const std::pair<const char*, const char*> cases[] = {{"nonsense", "not valid JSON"},
                                                       {"[5]", "an array"},
                                                       {R"({"method": "eagle"})", "eagle"},
                                                       {R"({"method": 7})", "a number"},
                                                       {R"({"num_speculative_tokens": 17})", "16"},
                                                       {R"({"num_speculative_tokens": -1})", "0"},
                                                       {R"({"num_speculative_tokens": "five"})", "a string"},
                                                       {R"({"model": "small"})", "model"}};
  for (const auto& refused : cases) {
    const std::string line = refusal([&] { speculative_tokens(refused.first); }, "--speculative-config");
    EXPECT_NE(line.find(refused.second), std::string::npos) << line;
    EXPECT_EQ(line.find("body"), std::string::npos) << line;
  }
}

TEST(FlagValues, KeepAlive) {
  EXPECT_EQ(parse_keep_alive("5m"), std::chrono::minutes(5));
  EXPECT_EQ(parse_keep_alive("-1"), kForever);
  for (const char* text : {"", "soon", "5 m"}) refusal([&] { parse_keep_alive(text); }, "--keep-alive");
}

TEST(FlagValues, Adapters) {
  const auto sources = adapter_sources({"sql=/a/b=c", R"({"name": "law", "path": "/d", "base_model_name": "m"})"});
  ASSERT_EQ(sources.size(), 2u);
  EXPECT_EQ(sources[0].name, "sql");
  EXPECT_EQ(sources[0].path, "/a/b=c");
  EXPECT_EQ(sources[1].name, "law");
  EXPECT_EQ(sources[1].path, "/d");
  EXPECT_EQ(sources[0].base, "");
  EXPECT_EQ(sources[1].base, "m");
  EXPECT_TRUE(adapter_sources({}).empty());
  for (const char* text : {"sql", "=path", "sql=", "", "{", R"({"name": "law"})", R"({"name": 5, "path": "/d"})"})
    refusal([&] { adapter_sources({text}); }, "--lora-modules");
}

}  // namespace
}  // namespace carronade
