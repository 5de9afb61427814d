#include "server/operator_routes.h"

#include <utility>

#include "api/metrics.h"
#include "api/operator.h"
#include "base/error.h"
#include "engine/snapshot.h"

namespace carronade {
namespace {

HttpResponse uncached(HttpResponse response) {
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

std::vector<EngineReading> engine_readings(const ServingState& state) {
  const auto model = state.loaded();
  if (!model || !model->engine) return {};
  const Engine& engine = *model->engine;
  return {{model->name, engine.stats(), &engine.metrics(), engine.options(), engine.weight_bytes()}};
}

void append_readings(std::string_view handler, const RouteMetrics& metrics, std::vector<RouteReading>& out) {
  for (const RouteMetrics::Reading& reading : metrics.readings()) {
    RouteReading& added =
        out.emplace_back(RouteReading{std::string(handler), std::string(reading.method), {}, reading.seconds});
    added.statuses.assign(reading.statuses.begin(), reading.statuses.end());
  }
}

void metrics(const Router& router, const ServingState& state, const std::string& version, Exchange& exchange) {
  const auto model = state.loaded();  // kept until the text is written
  MetricsText text;
  write_engine_metrics(text, engine_readings(state));
  std::vector<RouteReading> routes;
  for (const Route& route : router.routes()) append_readings(route.path, *route.metrics, routes);
  append_readings("none", router.unmatched(), routes);
  write_http_metrics(text, routes, state.running_answers);
  write_process_metrics(text, process_usage(), version);
  exchange.respond(uncached({200, {{"Content-Type", std::string(kMetricsContentType)}}, text.take(), {}}));
}

void scheduler(const ServingState& state, const std::shared_ptr<Exchange>& exchange) {
  const auto model = state.loaded();
  if (!model || !model->engine) throw Error(ErrorCode::kUnavailable, "no model is loaded yet");
  model->engine->snapshot([exchange, name = model->name](EngineSnapshot snapshot) {
    exchange->post([exchange, name, snapshot = std::move(snapshot)] {
      exchange->respond(uncached(json_response(200, scheduler_body(name, snapshot))));
    });
  });
}

// As vLLM has it for SageMaker: an empty 200 when /health would be.
void ping(const ServingState& state, Exchange& exchange) {
  if (!state.is_ready()) throw Error(ErrorCode::kUnavailable, "not ready; GET /health says how far it is");
  exchange.respond(uncached({200, {}, {}, {}}));
}

}  // namespace

void add_operator_routes(Router& router, const std::shared_ptr<ServingState>& state, std::string version) {
  const auto add = [&](std::string method, std::string path,
                       std::function<void(const std::shared_ptr<Exchange>&)> answer) {
    const bool for_operators = path == "/metrics" || path.starts_with("/debug/");
    router.add({.method = std::move(method),
                .path = std::move(path),
                .handler = [answer = std::move(answer)](
                               const HttpRequest&, const std::shared_ptr<Exchange>& exchange) { answer(exchange); },
                .on_page = false,
                .scope = for_operators ? KeyScope::kAdmin : KeyScope::kChat,
                .takes_json = false});
  };
  add("GET", "/metrics",
      [&router, state, version](const auto& exchange) { metrics(router, *state, version, *exchange); });
  add("GET", "/load", [state](const auto& exchange) {
    exchange->respond(uncached(json_response(200, load_body(state->running_answers))));
  });
  add("GET", "/ping", [state](const auto& exchange) { ping(*state, *exchange); });
  add("POST", "/ping", [state](const auto& exchange) { ping(*state, *exchange); });
  add("GET", "/version",
      [version](const auto& exchange) { exchange->respond(json_response(200, version_body(version))); });
  add("GET", "/debug/scheduler", [state](const auto& exchange) { scheduler(*state, exchange); });
}

}  // namespace carronade
