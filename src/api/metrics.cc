#include "api/metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <iterator>
#include <span>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace carronade {
namespace {

using Kind = MetricsText::Kind;
using Labels = MetricsText::Labels;

// "+Inf", "0.5", "10.0", "1e+06": as Prometheus' own clients write bounds, since dashboards compare the text.
std::string bound_text(double bound) {
  if (std::isinf(bound)) return "+Inf";
  if (bound >= 1e6) return fmt::format("{:g}", bound);
  return bound == std::floor(bound) ? fmt::format("{:.1f}", bound) : fmt::format("{}", bound);
}

// Backslash, quotation mark and line end are escaped; what is not UTF-8 would cost the whole text.
std::string label_text(std::string_view value) {
  using nlohmann::json;
  const std::string quoted = json(value).dump(-1, ' ', false, json::error_handler_t::replace);
  std::string text;
  for (const char c : json::parse(quoted).get<std::string>()) {
    if (c == '\n') {
      text += "\\n";
    } else {
      if (c == '\\' || c == '"') text += '\\';
      text += c;
    }
  }
  return text;
}

}  // namespace

void MetricsText::family(std::string_view name, Kind kind, std::string_view help) {
  static constexpr std::array<std::string_view, 3> kKinds = {"counter", "gauge", "histogram"};
  name_ = name;
  fmt::format_to(std::back_inserter(text_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name,
                 kKinds[static_cast<size_t>(kind)]);
}

void MetricsText::line(std::string_view suffix, const Labels& labels, std::string_view value) {
  text_ += name_;
  text_ += suffix;
  char before = '{';
  for (const auto& [name, text] : labels) {
    fmt::format_to(std::back_inserter(text_), "{}{}=\"{}\"", before, name, label_text(text));
    before = ',';
  }
  if (!labels.empty()) text_ += '}';
  text_ += ' ';
  text_ += value;
  text_ += '\n';
}

void MetricsText::sample(const Labels& labels, double value) { line("", labels, fmt::format("{}", value)); }
void MetricsText::sample(const Labels& labels, uint64_t value) { line("", labels, fmt::format("{}", value)); }

void MetricsText::histogram(const Labels& labels, const HistogramValues& values) {
  uint64_t so_far = 0;
  for (size_t i = 0; i < values.counts.size(); ++i) {
    so_far += values.counts[i];
    const std::string bound = i < values.bounds.size() ? bound_text(values.bounds[i]) : "+Inf";
    Labels with_bound = labels;
    with_bound.emplace_back("le", bound);
    line("_bucket", with_bound, fmt::format("{}", so_far));
  }
  line("_sum", labels, fmt::format("{}", values.sum));
  line("_count", labels, fmt::format("{}", so_far));
}

namespace {

struct NumberRow {
  std::string_view name;
  Kind kind;
  std::string_view help;
  double (*value)(const EngineReading&);
};

double share(int part, int whole) { return whole == 0 ? 0.0 : static_cast<double>(part) / whole; }
double number(const Counter& counter) { return static_cast<double>(counter.value()); }

constexpr NumberRow kNumbers[] = {
    {"vllm:num_requests_running", Kind::kGauge, "Requests being computed.",
     [](const EngineReading& e) -> double { return e.stats.running; }},
    {"vllm:num_requests_waiting", Kind::kGauge, "Requests waiting for their turn.",
     [](const EngineReading& e) -> double { return e.stats.waiting; }},
    {"vllm:kv_cache_usage_perc", Kind::kGauge, "Share of the KV cache's blocks that requests hold; 1 is all of them.",
     [](const EngineReading& e) { return share(e.stats.blocks_used, e.stats.blocks_total); }},
    {"vllm:prefix_cache_queries_total", Kind::kCounter, "Prompt tokens looked up in the prefix cache.",
     [](const EngineReading& e) { return number(e.metrics->prefix_queries); }},
    {"vllm:prefix_cache_hits_total", Kind::kCounter, "Prompt tokens found in the prefix cache.",
     [](const EngineReading& e) { return number(e.metrics->prefix_hits); }},
    {"vllm:prompt_tokens_cached_total", Kind::kCounter, "Prompt tokens that were not computed.",
     [](const EngineReading& e) { return number(e.metrics->prefix_hits); }},
    {"vllm:num_preemptions_total", Kind::kCounter, "Times a running request had to give its blocks back.",
     [](const EngineReading& e) { return static_cast<double>(e.stats.preemptions); }},
    {"vllm:prompt_tokens_total", Kind::kCounter, "Tokens of prompts read to their end, found in the cache or not.",
     [](const EngineReading& e) { return number(e.metrics->prompt_tokens); }},
    {"vllm:generation_tokens_total", Kind::kCounter, "Tokens of answers.",
     [](const EngineReading& e) { return number(e.metrics->generation_tokens); }},
    {"carronade:engine_steps_total", Kind::kCounter, "Forward passes.",
     [](const EngineReading& e) { return static_cast<double>(e.stats.steps); }},
    {"carronade:weight_bytes", Kind::kGauge, "Bytes of the model's weights.",
     [](const EngineReading& e) { return static_cast<double>(e.weight_bytes); }},
    {"carronade:kv_cache_bytes", Kind::kGauge, "Bytes that the KV cache may grow to.",
     [](const EngineReading& e) { return static_cast<double>(e.options.kv_bytes); }},
    {"carronade:kv_cache_touched_bytes", Kind::kGauge, "Bytes of the KV cache that were ever used, hence in memory.",
     [](const EngineReading& e) {
       return static_cast<double>(e.options.kv_bytes) * share(e.stats.blocks_touched, e.stats.blocks_total);
     }},
};

// Only while something guesses.
constexpr NumberRow kGuessing[] = {
    {"vllm:spec_decode_num_drafts_total", Kind::kCounter, "Drafts of guessed tokens that were checked.",
     [](const EngineReading& e) { return number(e.metrics->drafts); }},
    {"vllm:spec_decode_num_draft_tokens_total", Kind::kCounter, "Guessed tokens.",
     [](const EngineReading& e) { return number(e.metrics->draft_tokens); }},
    {"vllm:spec_decode_num_accepted_tokens_total", Kind::kCounter, "Guessed tokens that held.",
     [](const EngineReading& e) { return number(e.metrics->accepted_draft_tokens); }},
};

// Only with --kv-disk.
constexpr NumberRow kDisk[] = {
    {"carronade:kv_disk_bytes", Kind::kGauge, "Bytes of KV blocks on disk.",
     [](const EngineReading& e) { return static_cast<double>(e.stats.kv_disk_bytes); }},
    {"carronade:kv_disk_blocks_written_total", Kind::kCounter, "KV blocks written to disk.",
     [](const EngineReading& e) { return static_cast<double>(e.stats.kv_disk_written); }},
    {"carronade:kv_disk_blocks_read_total", Kind::kCounter, "KV blocks that came back from disk.",
     [](const EngineReading& e) { return static_cast<double>(e.stats.kv_disk_read); }},
    {"carronade:kv_disk_blocks_damaged_total", Kind::kCounter, "KV blocks on disk that were not what was written.",
     [](const EngineReading& e) { return static_cast<double>(e.stats.kv_disk_damaged); }},
    {"carronade:kv_disk_blocks_dropped_total", Kind::kCounter, "KV blocks for which the disk was too slow.",
     [](const EngineReading& e) { return static_cast<double>(e.stats.kv_disk_dropped); }},
};

struct HistogramRow {
  std::string_view name, help;
  Histogram EngineMetrics::*histogram;
};

constexpr HistogramRow kHistograms[] = {
    {"vllm:iteration_tokens_total", "Rows of a step: prompt tokens, one for each answer, and guesses.",
     &EngineMetrics::step_rows},
    {"vllm:request_prompt_tokens", "Prompt tokens of a request.", &EngineMetrics::request_prompt_tokens},
    {"vllm:request_generation_tokens", "Answer tokens of a request.", &EngineMetrics::request_generation_tokens},
    {"vllm:request_max_num_generation_tokens", "Tokens of the longest answer to one prompt.",
     &EngineMetrics::request_most_tokens},
    {"vllm:request_params_n", "The parameter n.", &EngineMetrics::request_n},
    {"vllm:request_params_max_tokens", "The parameter max_tokens.", &EngineMetrics::request_max_tokens},
    {"vllm:request_prefill_kv_computed_tokens", "Prompt tokens of a request that no cache had.",
     &EngineMetrics::request_computed_tokens},
    {"vllm:time_to_first_token_seconds", "From a request's arrival at the engine to its first token.",
     &EngineMetrics::time_to_first_token},
    {"vllm:inter_token_latency_seconds", "From one token of an answer to the next.",
     &EngineMetrics::inter_token_latency},
    {"vllm:request_time_per_output_token_seconds", "A request's decode time over its tokens after the first.",
     &EngineMetrics::seconds_per_output_token},
    {"vllm:e2e_request_latency_seconds", "From a request's arrival at the engine to its end.",
     &EngineMetrics::request_seconds},
    {"vllm:request_queue_time_seconds", "From a request's arrival at the engine to its first step.",
     &EngineMetrics::queue_seconds},
    {"vllm:request_inference_time_seconds", "From a request's first step to its last token.",
     &EngineMetrics::inference_seconds},
    {"vllm:request_prefill_time_seconds", "From a request's first step to its first token.",
     &EngineMetrics::prefill_seconds},
    {"vllm:request_decode_time_seconds", "From a request's first token to its last.", &EngineMetrics::decode_seconds},
    {"carronade:step_time_seconds", "From a step's plan to its last token.", &EngineMetrics::step_seconds},
};

Labels labels_of(const EngineReading& engine) { return {{"model_name", engine.model_name}, {"engine", "0"}}; }

void write_rows(MetricsText& text, const std::vector<EngineReading>& engines, std::span<const NumberRow> rows) {
  for (const NumberRow& row : rows) {
    text.family(row.name, row.kind, row.help);
    for (const EngineReading& engine : engines) text.sample(labels_of(engine), row.value(engine));
  }
}

// One family with one label more, whose values are listed.
void write_by(MetricsText& text, const std::vector<EngineReading>& engines, std::string_view label,
              std::span<const std::string_view> values,
              const std::function<double(const EngineReading&, size_t)>& value_of) {
  for (const EngineReading& engine : engines) {
    for (size_t i = 0; i < values.size(); ++i) {
      Labels labels = labels_of(engine);
      labels.emplace_back(label, values[i]);
      text.sample(labels, value_of(engine, i));
    }
  }
}

void write_accepted_by_place(MetricsText& text, const std::vector<EngineReading>& engines) {
  text.family("vllm:spec_decode_num_accepted_tokens_per_pos_total", Kind::kCounter,
              "Guessed tokens that held, by their place in the draft.");
  for (const EngineReading& engine : engines) {
    const auto places = std::min(static_cast<size_t>(engine.options.speculative_tokens), EngineMetrics::kMostDrafts);
    for (size_t place = 0; place < places; ++place) {
      const std::string position = std::to_string(place);
      Labels labels = labels_of(engine);
      labels.emplace_back("position", position);
      text.sample(labels, number(engine.metrics->accepted_by_place[place]));
    }
  }
}

void write_configuration(MetricsText& text, const std::vector<EngineReading>& engines) {
  text.family("vllm:cache_config_info", Kind::kGauge, "The KV cache, as it was set up.");
  for (const EngineReading& engine : engines) {
    const std::string size = std::to_string(kBlockPositions), blocks = std::to_string(engine.stats.blocks_total);
    text.sample({{"engine", "0"},
                 {"model_name", engine.model_name},
                 {"block_size", size},
                 {"num_gpu_blocks", blocks},
                 {"cache_dtype", info(engine.options.kv_dtype).name},
                 {"enable_prefix_caching", engine.options.prefix_cache ? "True" : "False"}},
                uint64_t{1});
  }
}

}  // namespace

void write_engine_metrics(MetricsText& text, const std::vector<EngineReading>& engines) {
  if (engines.empty()) return;
  write_rows(text, engines, kNumbers);

  static constexpr std::array<std::string_view, 4> kReasons = {"stop", "length", "abort", "error"};  // by FinishReason
  text.family("vllm:request_success_total", Kind::kCounter, "Requests that have ended, by what ended them.");
  write_by(text, engines, "finished_reason", kReasons,
           [](const EngineReading& engine, size_t i) { return number(engine.metrics->ended[i]); });

  static constexpr std::array<std::string_view, 3> kStates = {"used", "cached", "free"};
  text.family("carronade:kv_blocks", Kind::kGauge, "Blocks of the KV cache, by what they are.");
  write_by(text, engines, "state", kStates, [](const EngineReading& engine, size_t i) -> double {
    const EngineStats& stats = engine.stats;
    const int free = stats.blocks_total - stats.blocks_used - stats.blocks_cached;
    return i == 0 ? stats.blocks_used : i == 1 ? stats.blocks_cached : free;
  });

  std::vector<EngineReading> guessing, with_disk;
  for (const EngineReading& engine : engines) {
    if (engine.options.speculative_tokens > 0) guessing.push_back(engine);
    if (engine.options.kv_disk_bytes > 0) with_disk.push_back(engine);
  }
  if (!guessing.empty()) write_rows(text, guessing, kGuessing);
  if (!guessing.empty()) write_accepted_by_place(text, guessing);
  if (!with_disk.empty()) write_rows(text, with_disk, kDisk);

  for (const HistogramRow& row : kHistograms) {
    text.family(row.name, Kind::kHistogram, row.help);
    for (const EngineReading& engine : engines)
      text.histogram(labels_of(engine), (engine.metrics->*row.histogram).values());
  }
  write_configuration(text, engines);
}

void write_pool_metrics(MetricsText& text, const PoolReport& report) {
  using Model = PoolModelReport;
  struct Row {
    std::string_view name;
    Kind kind;
    std::string_view help;
    double (*value)(const Model&);
  };
  static constexpr Row kRows[] = {
      {"carronade:model_loaded", Kind::kGauge, "1: the model is loaded.",
       [](const Model& m) { return m.status.state == ModelState::kLoaded ? 1.0 : 0.0; }},
      {"carronade:model_bytes", Kind::kGauge, "Bytes that the model may grow to; 0 while it is not loaded.",
       [](const Model& m) { return static_cast<double>(m.status.bytes); }},
      {"carronade:model_requests_waiting", Kind::kGauge, "Requests that wait for the model to be loaded.",
       [](const Model& m) { return static_cast<double>(m.status.waiting); }},
      {"carronade:model_loads_total", Kind::kCounter, "Times the model was loaded.",
       [](const Model& m) { return static_cast<double>(m.loads); }},
      {"carronade:model_load_failures_total", Kind::kCounter, "Times it could not be.",
       [](const Model& m) { return static_cast<double>(m.failures); }},
      {"carronade:model_unloads_total", Kind::kCounter, "Times it was unloaded.",
       [](const Model& m) { return static_cast<double>(m.unloads); }},
      {"carronade:model_load_seconds_total", Kind::kCounter, "Seconds that loading it took, all times together.",
       [](const Model& m) { return m.load_seconds; }},
  };
  for (const Row& row : kRows) {
    text.family(row.name, row.kind, row.help);
    for (const Model& model : report.models) text.sample({{"model_name", model.name}}, row.value(model));
  }
  text.family("carronade:memory_committed_bytes", Kind::kGauge, "Bytes that the loaded models may grow to together.");
  text.sample({}, report.committed);
  if (report.budget == 0) return;
  text.family("carronade:memory_budget_bytes", Kind::kGauge, "Bytes that all models together may take.");
  text.sample({}, report.budget);
}

void write_http_metrics(MetricsText& text, const std::vector<RouteReading>& routes, int running_answers) {
  text.family("http_requests_total", Kind::kCounter, "Requests by route, method and class of status.");
  for (const RouteReading& route : routes) {
    for (const auto& [status, count] : route.statuses)
      text.sample({{"handler", route.handler}, {"method", route.method}, {"status", status}}, count);
  }
  text.family("http_request_duration_seconds", Kind::kHistogram, "From a request's head to its answer's end.");
  for (const RouteReading& route : routes)
    text.histogram({{"handler", route.handler}, {"method", route.method}}, route.seconds);
  text.family("carronade:running_answers", Kind::kGauge, "Answers being made.");
  text.sample({}, static_cast<uint64_t>(running_answers));
}

void write_process_metrics(MetricsText& text, const ProcessUsage& usage, std::string_view version) {
  const auto write = [&](std::string_view name, Kind kind, std::string_view help, auto value) {
    text.family(name, kind, help);
    text.sample({}, value);
  };
  write("process_virtual_memory_bytes", Kind::kGauge, "Virtual memory size in bytes.", usage.virtual_bytes);
  write("process_resident_memory_bytes", Kind::kGauge, "Resident memory size in bytes.", usage.resident_bytes);
  write("process_start_time_seconds", Kind::kGauge, "Start time of the process in seconds since 1970.",
        usage.start_time);
  write("process_cpu_seconds_total", Kind::kCounter, "User and system processor time in seconds.", usage.cpu_seconds);
  write("process_open_fds", Kind::kGauge, "Open file descriptors.", usage.open_files);
  write("process_max_fds", Kind::kGauge, "Most file descriptors that may be open.", usage.most_files);
  write("process_threads", Kind::kGauge, "Threads.", usage.threads);
  text.family("carronade:build_info", Kind::kGauge, "The program's version.");
  text.sample({{"version", version}}, uint64_t{1});
}

}  // namespace carronade
