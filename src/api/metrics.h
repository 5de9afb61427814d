// GET /metrics: Prometheus' text exposition format, version 0.0.4. The names are vLLM's ("vllm:…"), those of a
// process as all client libraries have them, and our own ("carronade:…").
// Sources: Prometheus' "Exposition formats"; vLLM's "Production metrics".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "engine/engine.h"
#include "engine/metrics.h"
#include "hub/model_pool.h"

namespace carronade {

inline constexpr std::string_view kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

// The text as it grows: families one after the other, each with its samples.
class MetricsText {
 public:
  enum class Kind { kCounter, kGauge, kHistogram };
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

  // The samples that follow are of this name. `help` is one line.
  void family(std::string_view name, Kind kind, std::string_view help);
  void sample(const Labels& labels, double value);
  void sample(const Labels& labels, uint64_t value);
  void histogram(const Labels& labels, const HistogramValues& values);

  std::string take() { return std::move(text_); }

 private:
  void line(std::string_view suffix, const Labels& labels, std::string_view value);

  std::string name_;
  std::string text_;
};

// One loaded model.
struct EngineReading {
  std::string model_name;
  EngineStats stats;
  const EngineMetrics* metrics = nullptr;
  EngineOptions options;
  uint64_t weight_bytes = 0;
};

// Requests of one route and method; names as of prometheus-fastapi-instrumentator, which vLLM uses.
struct RouteReading {
  std::string handler;  // the route's path, "none" for what has no route
  std::string method;
  std::vector<std::pair<std::string, uint64_t>> statuses;  // "2xx" → how many
  HistogramValues seconds;
};

void write_engine_metrics(MetricsText& text, const std::vector<EngineReading>& engines);
void write_pool_metrics(MetricsText& text, const PoolReport& report);
void write_http_metrics(MetricsText& text, const std::vector<RouteReading>& routes, int running_answers);
void write_process_metrics(MetricsText& text, const ProcessUsage& usage, std::string_view version);

}  // namespace carronade
