// One line for each request, with its id and without what it asked.
#pragma once

#include <cstdint>
#include <string>

#include "server/http.h"

namespace carronade {

struct AccessEntry {
  std::string client;    // its address
  int status = 0;        // 0: the client left before there was one
  uint64_t bytes = 0;    // sent, heads included
  double seconds = 0;    // from the request's head to its answer's last byte
  bool routine = false;  // probes and the page's own files: of no interest unless they fail
};

// At level info, routine ones that went well at debug. The query is left out: people put secrets there.
void log_access(const HttpRequest& request, const AccessEntry& entry);

// A client's own id for a request: 1 to 64 letters, digits, ".", "_", ":" and "-". Anything else is not taken over.
bool is_request_id(std::string_view text);

}  // namespace carronade
