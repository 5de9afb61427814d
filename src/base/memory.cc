#include "base/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "base/control_group.h"

namespace carronade {

SystemMemory read_system_memory(const std::filesystem::path& system) {
  SystemMemory memory;
  std::ifstream info(system / "proc/meminfo");  // "MemTotal:  16384256 kB"
  std::string key;
  for (uint64_t kib = 0; info >> key >> kib; info.ignore(std::numeric_limits<std::streamsize>::max(), '\n')) {
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

}  // namespace carronade
