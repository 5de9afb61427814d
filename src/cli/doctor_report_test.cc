#include "cli/doctor_report.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "backend/backend.h"
#include "base/testing.h"

namespace carronade {
namespace {

Machine good_machine() {
  Machine machine;
  machine.processor = "Test";
  machine.features = {"avx2"};
  machine.processors = machine.usable = 8;
  machine.memory = 16ull << 30;
  machine.memory_available = 12ull << 30;
  machine.huge_pages = "madvise";
  return machine;
}

Finding find(const std::vector<Finding>& findings, std::string_view subject) {
  return *std::ranges::find(findings, subject, &Finding::subject);
}

TEST(Doctor, AGoodMachineHasNothingWrong) {
  for (const Finding& finding : judge_machine(good_machine(), "avx2", 20e9)) {
    EXPECT_EQ(finding.state, Finding::State::kGood) << finding.subject;
    EXPECT_TRUE(finding.remedy.empty()) << finding.remedy;
  }
}

TEST(Doctor, WhatIsWrongHasARemedy) {
  Machine machine = good_machine();
  machine.limits = {.memory = 300ull << 20, .memory_in_use = 100ull << 20, .processors = 2.5};
  machine.memory_available = 200ull << 20;
  machine.huge_pages = "never";
  const auto findings = judge_machine(machine, "generic", 1e9);
  for (const Finding& finding : findings) {
    EXPECT_NE(finding.state, Finding::State::kGood) << finding.subject;
    EXPECT_FALSE(finding.remedy.empty()) << finding.subject;
  }
  EXPECT_EQ(find(findings, "Memory").state, Finding::State::kWrong);
  EXPECT_NE(find(findings, "Memory").remedy.find("container"), std::string::npos);
  EXPECT_NE(find(findings, "Cores").remedy.find("--threads 2"), std::string::npos);
}

TEST(Doctor, AnInstructionSetThatIsNotHereIsWrong) {
  for (const std::string name : {"avx2", "avx512", "neon", "pentium"}) {
    const auto isas = available_isas();
    const bool here = std::ranges::find(isas, name) != isas.end();
    const Finding processor = find(judge_machine(good_machine(), name, 20e9), "Processor");
    EXPECT_EQ(processor.state, here ? Finding::State::kGood : Finding::State::kWrong) << name;
    if (here) continue;
    for (const std::string& part : {std::string("CARRONADE_ISA"), name, isas.front()})
      EXPECT_NE(processor.remedy.find(part), std::string::npos) << processor.remedy;
  }
}

TEST(Doctor, FitsModelsByWeightsKeysAndBandwidth) {
  const uint64_t weights = 1ull << 30, available = (1ull << 30) + (200ull << 20) + (8ull << 30);
  const ModelFit fit = fit_model("m", weights, 32768, available, 10e9);
  EXPECT_EQ(fit.kv_per_user, 4096u * 32768u);
  EXPECT_EQ(fit.users, 32);  // half of 8 GiB at 128 MiB each
  EXPECT_NEAR(fit.tokens_per_second, 9.3, 0.1);
  EXPECT_EQ(fit_model("m", weights, 32768, 1ull << 30, 10e9).users, 0);
  EXPECT_EQ(fit_model("m", weights, 0, available, 10e9).users, -1);
}

TEST(Machine, IsReadAndMeasured) {
  const Machine machine = read_machine();
  EXPECT_GE(machine.processors, 1);
  EXPECT_GE(machine.usable, 1);
  EXPECT_GT(machine.memory, machine.memory_available);
  EXPECT_FALSE(machine.processor.empty());
  EXPECT_EQ(measure_bandwidth(1, 1 << 20), 0);  // too little memory to measure
  EXPECT_GT(measure_bandwidth(1, 512ull << 20), 1e8);
}

TEST(Machine, KnowsAPortInUse) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  EXPECT_FALSE(port_is_free(ntohs(address.sin_port)));
  ::close(fd);
  EXPECT_TRUE(port_is_free(ntohs(address.sin_port)));
}

TEST(Machine, TellsTheSpaceOfAFolderThatIsNotThereYet) {
  const TemporaryDirectory directory;
  const DiskSpace space = disk_space((directory.path() / "a" / "b").string());
  EXPECT_GT(space.free, 0u);
  EXPECT_TRUE(space.writable);
  std::ofstream(directory.path() / "file") << "in the way";
  EXPECT_FALSE(disk_space((directory.path() / "file" / "b").string()).writable);
}

}  // namespace
}  // namespace carronade
