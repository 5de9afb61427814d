#include "api/health.h"

#include "api/json_fields.h"

namespace carronade {

std::string loading_body(const LoadingProgress& progress) {
  const double share =
      progress.total == 0 ? 0.0 : static_cast<double>(progress.done) / static_cast<double>(progress.total);
  const Json body = {{"status", progress.phase == "shutting down" ? "shutting down" : "loading"},
                     {"model", progress.model},
                     {"phase", progress.phase},
                     {"done", progress.done},
                     {"total", progress.total},
                     {"progress", share}};
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace carronade
