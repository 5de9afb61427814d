// Runs another program to its end, without a shell.
#pragma once

#include <functional>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

namespace carronade {

struct ProcessResult {
  int status = 0;      // exit status; 128 + signal when one ended it; 127 when it could not be started
  std::string output;  // the last 16 KiB of standard output and standard error together
};

// `arguments[0]` is looked up in PATH. `environment` adds to or overrides this process's. `on_tick` runs on this thread
// about four times a second. The program ends with this one. Throws Error{kCancelled} after ending it when stopped,
// Error{kIo} when the system has no room.
ProcessResult run_process(const std::vector<std::string>& arguments,
                          const std::map<std::string, std::string>& environment, const std::stop_token& stop,
                          const std::function<void()>& on_tick);

}  // namespace carronade
