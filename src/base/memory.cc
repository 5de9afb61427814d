#include "base/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "base/control_group.h"

namespace carronade {

namespace {
constexpr auto kRestOfLine = std::numeric_limits<std::streamsize>::max();
}

SystemMemory read_system_memory(const std::filesystem::path& system) {
  SystemMemory memory;
  std::ifstream info(system / "proc/meminfo");  // "MemTotal:  16384256 kB"
  std::string key;
  for (uint64_t kib = 0; info >> key >> kib; info.ignore(kRestOfLine, '\n')) {
    if (key == "MemTotal:") memory.total = kib * 1024;
    if (key == "MemAvailable:") memory.available = kib * 1024;
    if (key == "SwapTotal:") memory.swap = kib * 1024;
  }
  return memory;
}

uint64_t available_memory(const std::filesystem::path& system) {
  const uint64_t available = read_system_memory(system).available;
  return std::min(available, read_control_group(system).memory_left().value_or(available));
}

uint64_t peak_resident_bytes(const std::filesystem::path& system) {
  std::ifstream status(system / "proc/self/status");  // "VmHWM:  123456 kB"
  uint64_t kib = 0;
  for (std::string key; status >> key; status.ignore(kRestOfLine, '\n')) {
    if (key == "VmHWM:" && status >> kib) break;
  }
  return kib * 1024;
}

}  // namespace carronade
