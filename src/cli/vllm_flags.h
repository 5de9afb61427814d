// vLLM's `serve` flags that mean nothing here: taken, so that a command line written for it works, with a line that
// says why.
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
};
const std::vector<VllmFlag>& vllm_flags();

// Adds them, hidden from the help. After parsing, notices() has a line for each that was given.
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
