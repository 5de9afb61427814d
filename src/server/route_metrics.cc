#include "server/route_metrics.h"

#include <algorithm>

namespace carronade {

void RouteMetrics::answered(std::string_view method, int status, double seconds) {
  const auto known = std::ranges::find(kMethods, method);
  OfMethod& entry = known == kMethods.end() ? methods_.back() : methods_[static_cast<size_t>(known - kMethods.begin())];
  const int kind = std::clamp(status == 0 ? 4 : status / 100, 1, 5);
  entry.statuses[static_cast<size_t>(kind - 1)].add();
  entry.seconds.observe(seconds);
}

std::vector<RouteMetrics::Reading> RouteMetrics::readings() const {
  std::vector<Reading> readings;
  for (size_t method = 0; method < kMethods.size(); ++method) {
    Reading reading{kMethods[method], {}, {}};
    for (size_t kind = 0; kind < kStatuses.size(); ++kind) {
      if (const uint64_t count = methods_[method].statuses[kind].value(); count > 0)
        reading.statuses.emplace_back(kStatuses[kind], count);
    }
    if (reading.statuses.empty()) continue;
    reading.seconds = methods_[method].seconds.values();
    readings.push_back(std::move(reading));
  }
  return readings;
}

}  // namespace carronade
