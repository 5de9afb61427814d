// The body of /health while nothing can be answered yet.
#pragma once

#include <cstdint>
#include <string>

namespace carronade {

struct LoadingProgress {
  std::string model;
  std::string phase;             // "downloading", "loading", "shutting down"
  uint64_t done = 0, total = 0;  // bytes; total 0: not known yet
};

// {"status":"loading","model","phase","done","total","progress"}, `progress` from 0 to 1.
std::string loading_body(const LoadingProgress& progress);

}  // namespace carronade
