// Logging: to standard error, one line an event. Standard output belongs to answers.
#pragma once

#include <spdlog/spdlog.h>

namespace carronade {

// Sets up the process's logger once, at start. `level`: trace debug info warn error. Throws Error{kInvalidArgument} for
// another name.
void set_up_logging(const std::string& level);

}  // namespace carronade
