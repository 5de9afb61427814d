// vLLM's `serve` flags that are not ours. Those that mean nothing here are taken, so that a command line written for it
// works, with a line that says why. Those without which the server would not be what was asked for are refused by name.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/foreign_name.h"

namespace CLI {
class App;
}

namespace carronade {

struct VllmFlag : ForeignName {  // `name` without the dashes
  bool takes_value;
  bool refused = false;
};
const std::vector<VllmFlag>& vllm_flags();

// Adds them, hidden from the help. After parsing, notices() has a line for each that was given and means nothing; a
// refused one throws Error{kUnsupported} while parsing.
class VllmFlagNotices {
 public:
  explicit VllmFlagNotices(CLI::App& app);
  std::vector<std::string> notices() const;

 private:
  struct Given {
    const VllmFlag* flag;
    std::string value;
    size_t count = 0;
  };
  std::vector<std::unique_ptr<Given>> given_;
};

}  // namespace carronade
