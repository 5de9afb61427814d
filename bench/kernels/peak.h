// What the multipliers of one core could do if nothing else were to be done: operands in registers, no loads, no
// waiting for results. Kernels are measured against these.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace carronade {

struct Peak {
  const char* what;
  double operations;            // of one round; a product and its addition are two
  void (*run)(int64_t rounds);  // on the calling thread
};

// Of the instructions that the kernels of `isa` (a name of cpu::known_isas()) are made of; none where nobody wrote
// them.
std::vector<Peak> peaks_of(std::string_view isa);

}  // namespace carronade
