#include "cli/vllm_flags.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include <CLI/CLI.hpp>

#include "base/error.h"

namespace carronade {
namespace {

std::vector<std::string> notices_of(std::vector<std::string> arguments) {
  CLI::App app;
  const VllmFlagNotices notices(app);
  std::ranges::reverse(arguments);  // as CLI11 takes them
  app.parse(std::move(arguments));
  return notices.notices();
}

TEST(VllmFlags, WhatMeansNothingIsTakenWithItsReason) {
  const auto notices = notices_of({"--gpu-memory-utilization", "0.9", "--trust-remote-code", "--seed=7"});
  ASSERT_EQ(notices.size(), 3u);
  for (const std::string& line : notices) EXPECT_NE(line.find(" has no effect: "), std::string::npos) << line;
}

TEST(VllmFlags, NothingIsSaidOfWhatHappensAnyway) {
  EXPECT_TRUE(notices_of({"--tensor-parallel-size", "1", "--load-format", "auto", "--seed", "0"}).empty());
  EXPECT_TRUE(notices_of({"--ssl-cert-reqs", "0"}).empty());
  EXPECT_EQ(notices_of({"--tensor-parallel-size", "1", "--tensor-parallel-size", "2"}).size(), 1u);
}

TEST(VllmFlags, WhatWouldBeAnotherServerIsRefusedByName) {
  const std::vector<std::vector<std::string>> lines = {{"--ssl-ca-certs", "ca.pem"}, {"--config", "serve.yaml"},
                                                       {"--uds", "/run/s"},          {"--hf-token=secret"},
                                                       {"--rope-scaling", "{}"},     {"--headless"}};
  for (const auto& line : lines) {
    try {
      notices_of(line);
      ADD_FAILURE() << line.front();
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kUnsupported);
      EXPECT_EQ(error.param, line.front().substr(0, line.front().find('=')));
      EXPECT_NE(std::string(error.what()).find(error.param), std::string::npos);
      EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
    }
  }
}

TEST(VllmFlags, EachIsThereOnceAndHasAReason) {
  std::set<std::string_view> names;
  for (const VllmFlag& flag : vllm_flags()) {
    EXPECT_TRUE(names.insert(flag.name).second) << flag.name;
    EXPECT_FALSE(flag.why.empty()) << flag.name;
    EXPECT_EQ(flag.name.find('_'), std::string_view::npos) << flag.name;
  }
}

}  // namespace
}  // namespace carronade
