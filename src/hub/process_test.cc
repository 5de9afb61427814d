#include "hub/process.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"

namespace carronade {
namespace {

const auto kNothing = [] {};

TEST(RunProcess, GivesStatusAndOutputOfBothStreams) {
  const ProcessResult result = run_process({"sh", "-c", "echo out; echo err >&2; exit 3"}, {}, {}, kNothing);
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(result.output, "out\nerr\n");
}

TEST(RunProcess, ArgumentsReachItUntouched) {
  EXPECT_EQ(run_process({"printf", "%s|", "a b", "$HOME", "'"}, {}, {}, kNothing).output, "a b|$HOME|'|");
}

TEST(RunProcess, TheEnvironmentIsAddedTo) {
  EXPECT_EQ(run_process({"sh", "-c", "echo $MARK"}, {{"MARK", "here"}}, {}, kNothing).output, "here\n");
}

TEST(RunProcess, AMissingProgramIsStatus127) {
  EXPECT_EQ(run_process({"/nowhere/program"}, {}, {}, kNothing).status, 127);
}

TEST(RunProcess, ASignalIsToldFromAStatus) {
  EXPECT_EQ(run_process({"sh", "-c", "kill -9 $$"}, {}, {}, kNothing).status, 137);
}

TEST(RunProcess, MuchOutputKeepsItsEnd) {
  const ProcessResult result = run_process({"sh", "-c", "seq 1 100000; echo end"}, {}, {}, kNothing);
  EXPECT_LE(result.output.size(), 16u << 10);
  EXPECT_TRUE(result.output.ends_with("end\n"));
}

TEST(RunProcess, AStopEndsIt) {
  std::stop_source stop;
  int ticks = 0;
  const auto stop_soon = [&] {
    if (++ticks == 2) stop.request_stop();
  };
  try {
    run_process({"sleep", "600"}, {}, stop.get_token(), stop_soon);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kCancelled);
  }
}

}  // namespace
}  // namespace carronade
