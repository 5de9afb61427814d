#include "base/memory.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/testing.h"

namespace carronade {
namespace {

class MemoryTest : public ::testing::Test {
 protected:
  void write(const std::filesystem::path& file, const std::string& text) const {
    std::filesystem::create_directories((system_.path() / file).parent_path());
    std::ofstream(system_.path() / file) << text;
  }
  TemporaryDirectory system_;
};

TEST_F(MemoryTest, ReadsTheKernelsTable) {
  write("proc/meminfo",
        "MemTotal:        4000 kB\nMemFree:          100 kB\nMemAvailable:    3000 kB\nHugePages_Total:       0\n"
        "SwapTotal:        500 kB\n");
  const SystemMemory memory = read_system_memory(system_.path());
  EXPECT_EQ(memory.total, 4000u * 1024);
  EXPECT_EQ(memory.available, 3000u * 1024);
  EXPECT_EQ(memory.swap, 500u * 1024);
  EXPECT_EQ(available_memory(system_.path()), 3000u * 1024);
}

TEST_F(MemoryTest, AControlGroupMayLeaveLess) {
  write("proc/meminfo", "MemAvailable:    3000 kB\n");
  write("proc/self/cgroup", "0::/\n");
  write("sys/fs/cgroup/memory.max", "2048000\n");
  write("sys/fs/cgroup/memory.current", "1024000\n");
  EXPECT_EQ(available_memory(system_.path()), 1'024'000u);
  write("sys/fs/cgroup/memory.max", "99999999999\n");
  EXPECT_EQ(available_memory(system_.path()), 3000u * 1024);
}

TEST_F(MemoryTest, WhatCannotBeReadIsNotKnown) { EXPECT_EQ(available_memory(system_.path()), 0u); }

TEST_F(MemoryTest, ReadsTheProcessPeak) {
  write("proc/self/status", "Name:\ta name\nVmPeak:\t  9000 kB\nVmHWM:\t   70 kB\nVmRSS:\t   60 kB\n");
  EXPECT_EQ(peak_resident_bytes(system_.path()), 70u * 1024);
  write("proc/self/status", "Name:\tcarronade\nVmPeak:\t  9000 kB\n");
  EXPECT_EQ(peak_resident_bytes(system_.path()), 0u);
}

// getrusage() would tell the child of what its parent took.
TEST(Memory, ThePeakIsNotThatOfTheProgramThatStartedThisOne) {
  constexpr size_t kLarge = 256 << 20;
  constexpr const char* kChild = "CARRONADE_TEST_CHILD";
  if (std::getenv(kChild)) {
    EXPECT_GT(peak_resident_bytes(), 0u);
    EXPECT_LT(peak_resident_bytes(), kLarge);
    return;
  }
  const std::vector<char> large(kLarge, 1);
  EXPECT_GT(peak_resident_bytes(), kLarge);
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string test = "Memory.ThePeakIsNotThatOfTheProgramThatStartedThisOne";
  EXPECT_EQ(std::system((std::string(kChild) + "=1 exec '" + self + "' --gtest_filter=" + test).c_str()), 0);
}

TEST(Memory, ThisMachineHasSome) {
  const SystemMemory memory = read_system_memory();
  EXPECT_GT(memory.available, 0u);
  EXPECT_GT(memory.total, memory.available);
}

}  // namespace
}  // namespace carronade
