// "Loading … 42 %" on a terminal, nothing elsewhere; gone at the end of the scope.
#pragma once

#include <cstdint>
#include <string>

namespace carronade {

class PercentLine {  // one thread
 public:
  explicit PercentLine(std::string what);
  ~PercentLine();
  PercentLine(const PercentLine&) = delete;
  PercentLine& operator=(const PercentLine&) = delete;
  void show(uint64_t done, uint64_t total);

 private:
  const std::string what_;
  const bool terminal_;
  bool shown_ = false;
  int percent_ = -1;
};

}  // namespace carronade
