// What this process may use, where a container or a service manager limits it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace carronade {

struct ControlGroupLimits {
  std::optional<uint64_t> memory;    // bytes; unset: no limit
  uint64_t memory_in_use = 0;        // of the group that limits
  std::optional<double> processors;  // processor time a second; unset: no limit
  // Bytes left below the limit; nothing where there is no limit.
  std::optional<uint64_t> memory_left() const {
    if (!memory) return std::nullopt;
    return *memory > memory_in_use ? *memory - memory_in_use : 0;
  }
};

// The tightest limit of the process's group and of those above it, of version 1 or 2. `system` is where /proc and /sys
// are found. What cannot be read counts as no limit. Source: the Linux kernel's documentation, cgroup-v2.rst and
// cgroup-v1.
ControlGroupLimits read_control_group(const std::filesystem::path& system = "/");

}  // namespace carronade
