#include <gtest/gtest.h>

#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/testing.h"
#include "cli/commands.h"
#include "hub/testing.h"

namespace carronade {
namespace {

class BenchCommandTest : public testing::Test {
 protected:
  BenchCommandTest() { with_tokenizer({}).write(path()); }
  std::string path() const { return (directory_.path() / "tiny.gguf").string(); }
  std::string bench(const std::string& flags) const {
    CLI::App app;
    add_bench_command(app);
    testing::internal::CaptureStdout();
    app.parse("bench " + path() + " --threads 1 --prompt 8 " + flags);
    return testing::internal::GetCapturedStdout();
  }
  TemporaryDirectory directory_;
};

TEST_F(BenchCommandTest, MeasuresWhatItIsAskedFor) {
  const auto json = nlohmann::json::parse(bench("--generate 4 --json"));
  for (const char* figure : {"prefill_tokens_per_second", "decode_tokens_per_second", "time_to_first_token",
                             "load_seconds", "peak_rss_bytes"}) {
    EXPECT_GT(json.at(figure).get<double>(), 0) << figure;
  }
  EXPECT_NE(bench("--generate 4").find("all sequences together"), std::string::npos);
}

// The first token ends the prompt; with no other there is no speed of writing.
TEST_F(BenchCommandTest, OneTokenTellsNoSpeedOfWriting) {
  const auto json = nlohmann::json::parse(bench("--generate 1 --json"));
  EXPECT_TRUE(json.at("decode_tokens_per_second").is_null()) << json;
  EXPECT_GT(json.at("prefill_tokens_per_second").get<double>(), 0);
  const std::string text = bench("--generate 1");
  EXPECT_NE(text.find("decode                not measured"), std::string::npos) << text;
}

}  // namespace
}  // namespace carronade
