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

using LoadedModels = std::vector<std::shared_ptr<const ChatModel>>;

std::vector<EngineReading> engine_readings(const LoadedModels& models) {
  std::vector<EngineReading> readings;
  for (const auto& model : models) {
    if (!model->engine) continue;
    const Engine& engine = *model->engine;
    readings.push_back({model->name, engine.stats(), &engine.metrics(), engine.options(), engine.weight_bytes()});
  }
  return readings;
}

void append_readings(std::string_view handler, const RouteMetrics& metrics, std::vector<RouteReading>& out) {
  for (const RouteMetrics::Reading& reading : metrics.readings()) {
    RouteReading& added =
        out.emplace_back(RouteReading{std::string(handler), std::string(reading.method), {}, reading.seconds});
    added.statuses.assign(reading.statuses.begin(), reading.statuses.end());
  }
}

void metrics(const Router& router, const ServingState& state, const std::string& version, Exchange& exchange) {
  const LoadedModels models = state.glance();  // kept until the text is written
  MetricsText text;
  write_engine_metrics(text, engine_readings(models));
  if (const auto report = state.report()) write_pool_metrics(text, *report);
  std::vector<RouteReading> routes;
  for (const Route& route : router.routes()) append_readings(route.path, *route.metrics, routes);
  append_readings("none", router.unmatched(), routes);
  write_http_metrics(text, routes, state.running_answers);
  write_process_metrics(text, process_usage(), version);
  exchange.respond(uncached({200, {{"Content-Type", std::string(kMetricsContentType)}}, text.take(), {}}));
}

// The engines' answers as they come, on the exchange's strand.
struct Snapshots {
  LoadedModels models;
  std::vector<SchedulerReading> readings;
  size_t missing = 0;
};

void scheduler(const std::shared_ptr<ServingState>& state, const std::shared_ptr<Exchange>& exchange) {
  const auto gathered = std::make_shared<Snapshots>();
  gathered->models = state->glance();
  std::erase_if(gathered->models, [](const auto& model) { return !model->engine; });
  const bool several = state->several();
  const auto respond = [state, exchange, gathered, several] {
    const auto report = state->report();
    const std::string body = several && report ? schedulers_body(gathered->readings, *report, PoolClock::now())
                                               : scheduler_body(gathered->readings.front());
    exchange->respond(uncached(json_response(200, body)));
  };
  gathered->missing = gathered->models.size();
  gathered->readings.resize(gathered->missing);
  if (gathered->missing == 0) {
    if (several) return respond();
    throw Error(ErrorCode::kUnavailable, "no model is loaded");
  }
  for (size_t i = 0; i < gathered->models.size(); ++i) {
    const auto& model = gathered->models[i];
    gathered->readings[i].model_name = model->name;
    model->engine->snapshot([exchange, gathered, respond, i](EngineSnapshot snapshot) {
      exchange->post([gathered, respond, i, snapshot = std::move(snapshot)] {
        gathered->readings[i].snapshot = snapshot;
        if (--gathered->missing > 0) return;
        gathered->models.clear();
        respond();
      });
    });
  }
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
  add("GET", "/debug/scheduler", [state](const auto& exchange) { scheduler(state, exchange); });
}

}  // namespace carronade
