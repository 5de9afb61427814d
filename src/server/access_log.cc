#include "server/access_log.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "base/structured_log.h"
#include "workspace/key_ring.h"

namespace carronade {

void log_access(const HttpRequest& request, const AccessEntry& entry) {
  const int status = entry.status == 0 ? 499 : entry.status;  // nginx's number for a client that left
  const auto level = entry.routine && status < 400 ? spdlog::level::debug : spdlog::level::info;
  const double seconds = std::round(entry.seconds * 1000.0) / 1000.0;
  const std::string method = request.method.substr(0, 20), path = request.path.substr(0, 200);
  log_event(level, "request",
            {{"method", std::string_view(method)},
             {"path", std::string_view(path)},
             {"status", int64_t{status}},
             {"bytes", static_cast<int64_t>(entry.bytes)},
             {"seconds", seconds},
             {"client", std::string_view(entry.client)},
             {"key", request.key ? std::string_view(request.key->name()) : std::string_view("-")},
             {"request_id", std::string_view(request.id)}});
}

bool is_request_id(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::ranges::all_of(text, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == ':' || c == '-';
  });
}

}  // namespace carronade
