#include "base/control_group.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace carronade {

namespace {

namespace fs = std::filesystem;

std::optional<double> read_number(const fs::path& path) {
  std::ifstream file(path);
  double value = 0;
  if (file >> value) return value;
  return std::nullopt;  // absent, or "max"
}

// Version 1 says "no limit" by a number near 2^63.
constexpr double kNoLimit = 1e18;

void limit_memory(const fs::path& limit, const fs::path& use, ControlGroupLimits& limits) {
  const auto bytes = read_number(limit);
  if (!bytes || *bytes < 0 || *bytes >= kNoLimit) return;
  const auto in_use = static_cast<uint64_t>(read_number(use).value_or(0));
  const auto most = static_cast<uint64_t>(*bytes);
  const uint64_t left = most > in_use ? most - in_use : 0;
  if (limits.memory && *limits.memory_left() <= left) return;
  limits.memory = most;
  limits.memory_in_use = in_use;
}

void limit_processors(std::optional<double> quota, std::optional<double> period, ControlGroupLimits& limits) {
  if (!quota || !period || *quota <= 0 || *period <= 0) return;
  limits.processors = std::min(limits.processors.value_or(1e9), *quota / *period);
}

void limit_version_2(const fs::path& folder, ControlGroupLimits& limits) {
  limit_memory(folder / "memory.max", folder / "memory.current", limits);
  std::ifstream file(folder / "cpu.max");  // "quota period"; the quota may be "max"
  double quota = 0, period = 0;
  if (file >> quota >> period) limit_processors(quota, period, limits);
}

void limit_version_1(const fs::path& folder, const std::string& controller, ControlGroupLimits& limits) {
  if (controller == "memory") {
    limit_memory(folder / "memory.limit_in_bytes", folder / "memory.usage_in_bytes", limits);
  } else {
    limit_processors(read_number(folder / "cpu.cfs_quota_us"), read_number(folder / "cpu.cfs_period_us"), limits);
  }
}

// A group's folder and those above it. Inside a container the group's name may be the host's: then only the root is
// there.
std::vector<fs::path> with_parents(const fs::path& root, const std::string& group) {
  std::vector<fs::path> folders = {root};
  fs::path folder = root;
  for (const fs::path& part : fs::path(group).relative_path()) {
    if (part == "..") return {root};
    folders.push_back(folder /= part);
  }
  return folders;
}

}  // namespace

ControlGroupLimits read_control_group(const fs::path& system) {
  ControlGroupLimits limits;
  const fs::path root = system / "sys/fs/cgroup";
  std::ifstream groups(system / "proc/self/cgroup");  // "number:controllers:/group", for version 2 "0::/group"
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") {
      for (const fs::path& folder : with_parents(root, group)) limit_version_2(folder, limits);
      continue;
    }
    for (const std::string controller : {"memory", "cpu"}) {
      if (controllers.find(fmt::format(",{},", controller)) == std::string::npos) continue;
      for (const fs::path& folder : with_parents(root / controller, group)) limit_version_1(folder, controller, limits);
    }
  }
  return limits;
}

}  // namespace carronade
