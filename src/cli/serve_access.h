// Who may use what `serve` serves: its flags for keys, and the ring made of them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "workspace/key_ring.h"

namespace CLI {
class App;
}

namespace carronade {

struct AccessFlags {
  std::vector<std::string> api_keys;
};

void add_access_flags(CLI::App& command, AccessFlags& flags);

// vLLM takes several values behind one --api-key. Here a word behind it is the model unless that was named before, so
// only then: "MODEL --api-key A B" → "MODEL --api-key A --api-key B".
std::vector<std::string> repeat_api_key(const std::vector<std::string>& arguments);

// The keys of the command line, or else of the environment, and those in the store under the data folder. `data_dir`
// empty: the default folder, which may be missing where it cannot be made; then there are no keys to look up in it.
std::shared_ptr<KeyRing> open_key_ring(const AccessFlags& flags, const std::string& data_dir);

}  // namespace carronade
