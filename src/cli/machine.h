// What this machine has to offer a model, looked up and measured, for `doctor`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/control_group.h"

namespace carronade {

struct Machine {
  std::string processor;              // "AMD EPYC …"
  std::vector<std::string> features;  // those that kernels use, in the system's spelling
  int processors = 1;                 // of the system
  int usable = 1;                     // that this process may run on
  ControlGroupLimits limits;
  uint64_t memory = 0, memory_available = 0, swap = 0;  // bytes
  std::string huge_pages;                               // "always", "madvise", "never", or empty: not known
};
Machine read_machine();

// Bytes a second that `threads` read from memory together, beyond every cache: the median of passes within about half
// a second, plain ones or those that ask for lines ahead, whichever is better. 0: there is not memory enough to
// measure.
double measure_bandwidth(int threads, uint64_t memory_available);

// Whether a server could listen there now; 127.0.0.1 only.
bool port_is_free(uint16_t port);

struct DiskSpace {
  uint64_t free = 0;
  bool writable = false;
};
// Of a folder that need not be there yet.
DiskSpace disk_space(const std::string& folder);

}  // namespace carronade
