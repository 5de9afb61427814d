// Who may use what `serve` serves: its flags for keys, and the ring made of them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "server/http_server.h"
#include "workspace/key_ring.h"

namespace CLI {
class App;
}

namespace carronade {

struct AccessFlags {
  std::vector<std::string> api_keys;
  std::vector<std::string> allowed_origins;  // as given: origins, or vLLM's JSON lists of them
  bool allow_credentials = false, no_access_log = false;
  std::string tls_certificate, tls_key;
};

void add_access_flags(CLI::App& command, AccessFlags& flags);
void add_connection_flags(CLI::App& command, AccessFlags& flags);  // other origins, TLS, the access log

// What the server is told of keys, other origins, TLS and the log. Throws Error for what the flags got wrong.
HttpServerOptions server_options(const AccessFlags& flags, std::shared_ptr<const KeyRing> keys);

// vLLM takes several values behind one --api-key. Here a word behind it is the model unless that was named before, so
// only then: "MODEL --api-key A B" → "MODEL --api-key A --api-key B".
std::vector<std::string> repeat_api_key(const std::vector<std::string>& arguments);

// The keys of the command line, or else of the environment, and those in the store under the data folder. `data_dir`
// empty: the default folder, which may be missing where it cannot be made; then there are no keys to look up in it.
std::shared_ptr<KeyRing> open_key_ring(const AccessFlags& flags, const std::string& data_dir);

}  // namespace carronade
