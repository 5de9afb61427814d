// Memory of the system, and what of it this process may still take.
#pragma once

#include <cstdint>
#include <filesystem>

namespace carronade {

struct SystemMemory {
  uint64_t total = 0, available = 0, swap = 0;  // bytes; 0: not known
};

// Source: proc(5), /proc/meminfo. `system` is where /proc is found.
SystemMemory read_system_memory(const std::filesystem::path& system = "/");

// Bytes that the process may still take: what the system has available, and no more than its control group leaves. 0:
// not known.
uint64_t available_memory(const std::filesystem::path& system = "/");

// The most bytes of this process that were resident at once; 0: not known. Not getrusage(), whose figure a program
// takes over from a larger one that started it. Source: proc(5), /proc/self/status.
uint64_t peak_resident_bytes(const std::filesystem::path& system = "/");

}  // namespace carronade
