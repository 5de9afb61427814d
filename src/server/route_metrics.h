// How often a route was asked, and how long its answers took. Thread-safe, without a lock.
#pragma once

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "base/metrics.h"

namespace carronade {

class RouteMetrics {
 public:
  // `status` 0: the client left before there was one, which counts as an error of its own (nginx: 499).
  void answered(std::string_view method, int status, double seconds);

  struct Reading {
    std::string_view method;
    std::vector<std::pair<std::string_view, uint64_t>> statuses;  // "2xx" → how many; those that came
    HistogramValues seconds;
  };
  std::vector<Reading> readings() const;  // of the methods that came

 private:
  // What else a client makes up is one, or it could fill the memory.
  static constexpr std::array<std::string_view, 8> kMethods = {"GET",   "HEAD",   "POST",    "PUT",
                                                               "PATCH", "DELETE", "OPTIONS", "other"};
  static constexpr std::array<std::string_view, 5> kStatuses = {"1xx", "2xx", "3xx", "4xx", "5xx"};
  struct OfMethod {
    std::array<Counter, kStatuses.size()> statuses;
    Histogram seconds{{0.1, 0.5, 1}};  // as prometheus-fastapi-instrumentator has them
  };
  std::array<OfMethod, kMethods.size()> methods_;
};

}  // namespace carronade
