#include "base/control_group.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/testing.h"

namespace carronade {
namespace {

class ControlGroupTest : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& text) {
    const auto file = system_.path() / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  ControlGroupLimits read() { return read_control_group(system_.path()); }
  TemporaryDirectory system_;
};

TEST_F(ControlGroupTest, NothingIsNoLimit) {
  EXPECT_FALSE(read().memory || read().processors);
  put("proc/self/cgroup", "0::/\nnonsense\n");
  put("sys/fs/cgroup/memory.max", "max\n");
  put("sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_FALSE(read().memory || read().processors || read().memory_left());
}

TEST_F(ControlGroupTest, TheTightestOfTheGroupAndThoseAboveCounts) {
  put("proc/self/cgroup", "0::/user.slice/app.service\n");
  put("sys/fs/cgroup/user.slice/memory.max", "1000\n");
  put("sys/fs/cgroup/user.slice/memory.current", "900\n");
  put("sys/fs/cgroup/user.slice/app.service/memory.max", "800\n");
  put("sys/fs/cgroup/user.slice/app.service/memory.current", "100\n");
  put("sys/fs/cgroup/user.slice/app.service/cpu.max", "150000 100000\n");
  EXPECT_EQ(read().memory, 1000u);  // 100 bytes are left there, 700 below
  EXPECT_EQ(read().memory_left(), 100u);
  EXPECT_EQ(read().processors, 1.5);
}

TEST_F(ControlGroupTest, VersionOneHasAFolderForEachController) {
  put("proc/self/cgroup", "12:cpu,cpuacct:/docker/1234\n5:memory:/docker/1234\n1:name=systemd:/\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_FALSE(read().memory);
  // In the container the host's name of the group is not there: its limits are at the root.
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n");
  put("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n");
  put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
  put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(read().memory_left(), 0u);
  EXPECT_EQ(read().processors, 2.0);
  put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  EXPECT_FALSE(read().processors);
}

}  // namespace
}  // namespace carronade
