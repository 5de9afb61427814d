// Which instruction set the backend runs with, chosen once, at start.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "backend/cpu/kernels.h"

namespace carronade::cpu {

struct Isa {
  const char* name;
  bool available;  // on this processor
  const Kernels& (*kernels)();
};

// All that this build knows, best first; "generic" is last and always available.
const std::vector<Isa>& known_isas();

// "" takes the best available. Throws Error{kInvalidArgument} for an unknown name, Error{kUnsupported} for one the
// processor lacks.
const Kernels& choose_kernels(std::string_view name);

}  // namespace carronade::cpu
