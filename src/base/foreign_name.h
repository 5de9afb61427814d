// Names of other programs' interfaces (a flag, a field) that are understood here, but do nothing.
#pragma once

#include <string_view>

namespace carronade {

struct ForeignName {
  std::string_view name;
  std::string_view why;        // it does nothing, or cannot be had: for the one who gave it
  std::string_view neutral{};  // a value that asks for what happens anyway: then nothing is said
};

}  // namespace carronade
