// carronade serve
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "api/json_fields.h"
#include "api/openai.h"
#include "api/request_fields.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/service_manager.h"
#include "base/structured_log.h"
#include "chat/chat_model.h"
#include "cli/commands.h"
#include "cli/flag_values.h"
#include "cli/kv_cache_dtype.h"
#include "cli/open_model.h"
#include "cli/percent_line.h"
#include "cli/progress_bar.h"
#include "cli/serve_access.h"
#include "cli/serve_models.h"
#include "cli/vllm_flags.h"
#include "server/http_server.h"
#include "server/openai_routes.h"
#include "server/operator_routes.h"
#include "server/web_assets.h"

namespace carronade {

namespace {

struct ServeFlags {
  ModelFlags models;
  std::string host = "127.0.0.1", port = "8000", ui_port = "7860";
  AccessFlags access;
  std::string data_dir, download_dir, chat_template, template_arguments, sampling_overrides;
  std::string dtype = "auto", revision;
  std::string generation_config = "auto", log_level = "info", log_format = "text", kv_dtype = "auto";
  std::string max_model_len = "0", max_num_batched_tokens = "0", kv_memory = "0";
  int max_num_seqs = 0, threads = 0;
  double shutdown_timeout = 30.0;
  bool prefix_cache = true;
  std::string kv_disk = "0", memory_budget = "0";
  std::string speculative_config;
  std::vector<std::string> lora_modules;
  std::unique_ptr<VllmFlagNotices> vllm;
};

std::string from_environment(std::initializer_list<const char*> names, std::string fallback) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value && *value) return value;
  }
  return fallback;
}

// A stop that can be waited for.
class StopWait {
 public:
  void request() {
    source_.request_stop();
    std::lock_guard lock(mutex_);
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return source_.stop_requested(); });
  }
  std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

// A pull shown both on the terminal and by /health.
class ServePullProgress : public ProgressSink {
 public:
  ServePullProgress(ServingState& state, std::string model) : state_(state), model_(std::move(model)) {}
  void message(std::string_view line) override { bar_.message(line); }
  void progress(uint64_t done, std::optional<uint64_t> total) override {
    bar_.progress(done, total);
    state_.loading(model_, "downloading", done, total.value_or(0));
  }

 private:
  ServingState& state_;
  std::string model_;
  ProgressBar bar_;
};

std::string shown_host(const std::string& host) {
  if (host == "0.0.0.0" || host == "::") return "127.0.0.1";
  return host.find(':') != std::string::npos ? "[" + host + "]" : host;
}

struct Ports {
  uint16_t api = 0;
  std::optional<uint16_t> page;
};

Ports listen(HttpServer& server, const ServeFlags& flags) {
  Ports ports;
  ports.api = server.listen({flags.host, parse_port(flags.port, "--port"), ListenerKind::kApi, "--port"});
  // "auto" is a free port, for tests; 0 turns the page off.
  const uint16_t ui_port = flags.ui_port == "auto" ? 0 : parse_port(flags.ui_port, "--ui-port");
  if (ui_port != 0 || flags.ui_port == "auto") {
    ports.page = server.listen({flags.host, ui_port, ListenerKind::kPage, "--ui-port (0 turns the page off)"});
  }
  return ports;
}

// For people a line as it is, for collectors an event of the log.
template <typename... Args>
void say(const ServeFlags& flags, fmt::format_string<Args...> format, Args&&... args) {
  const std::string line = fmt::format(format, std::forward<Args>(args)...);
  if (parse_log_format(flags.log_format) == LogFormat::kJson) {
    spdlog::info("{}", line);
  } else {
    fmt::print(stderr, "{}\n", line);
  }
}

void print_addresses(const ServeFlags& flags, const Ports& ports) {
  const std::string host = shown_host(flags.host);
  const char* scheme = flags.access.tls_certificate.empty() ? "http" : "https";
  say(flags, "API        {}://{}:{}/v1", scheme, host, ports.api);
  if (ports.page) say(flags, "Chat       {}://{}:{}", scheme, host, *ports.page);
}

// 34560 → "34,560"
std::string grouped(int number) {
  std::string text = std::to_string(number);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) text.insert(static_cast<size_t>(at), 1, ',');
  return text;
}

void print_model(const ServeFlags& flags, const ChatModel& model) {
  const Engine& engine = *model.engine;
  const EngineOptions& options = engine.options();
  const EngineStats stats = engine.stats();
  const DeviceInfo& device = engine.device();
  say(flags, "Model      {} ({}, context {} of {} tokens)", model.name, engine.model_config().architecture,
      options.max_model_len, engine.model_config().context_length);
  const int users = std::min(stats.blocks_total * kBlockPositions / options.max_model_len, options.max_num_seqs);
  const int tokens = stats.blocks_total * kBlockPositions;
  say(flags, "Memory     weights {} · KV {} = {} tokens · {} user{} of {}", format_bytes(engine.weight_bytes()),
      format_bytes(options.kv_bytes), grouped(tokens), users, users == 1 ? "" : "s", grouped(options.max_model_len));
  say(flags, "Processor  {} {}, {} thread{}", device.name, device.variant, device.threads,
      device.threads == 1 ? "" : "s");
}

void warn_when_open(const ServeFlags& flags, const KeyRing& keys) {
  if (is_loopback_address(flags.host) || !keys.open()) return;
  if (parse_log_format(flags.log_format) == LogFormat::kJson) {
    return spdlog::warn("{} can be reached from other machines, and there is no API key", flags.host);
  }
  fmt::print(stderr,
             "\nWARNING: {} can be reached from other machines, and there is no API key: whoever reaches this port can "
             "use the model.\n"
             "         Make one with `carronade key add NAME`, or give --api-key KEY (or CARRONADE_API_KEY), or leave "
             "--host at "
             "127.0.0.1.\n\n",
             flags.host);
}

OpenModelOptions model_options(const ServeFlags& flags) {
  OpenModelOptions options;
  options.download_dir = flags.download_dir;
  options.chat_template = flags.chat_template;
  options.revision = flags.revision;
  options.dtype = flags.dtype;
  options.load.backend.threads = flags.threads;
  options.load.engine.max_model_len = parse_model_length(flags.max_model_len);
  options.load.engine.max_num_seqs = flags.max_num_seqs;
  options.load.engine.max_num_batched_tokens = parse_count(flags.max_num_batched_tokens, "--max-num-batched-tokens");
  options.load.engine.kv_bytes = parse_size(flags.kv_memory, "--kv-cache-memory-bytes");
  options.load.engine.kv_dtype = parse_kv_cache_dtype(flags.kv_dtype);
  options.load.engine.prefix_cache = flags.prefix_cache;
  options.load.engine.memory_bytes = parse_size(flags.memory_budget, "--memory-budget");
  options.load.engine.kv_disk_bytes = parse_size(flags.kv_disk, "--kv-disk");
  if (options.load.engine.kv_disk_bytes > 0 && !flags.prefix_cache) {
    throw Error(ErrorCode::kInvalidArgument,
                "--kv-disk keeps what the prefix cache knows: leave out --no-enable-prefix-caching, or --kv-disk",
                "--kv-disk");
  }
  options.load.engine.kv_disk_directory =
      (flags.data_dir.empty() ? default_data_dir() : std::filesystem::path(flags.data_dir)) / "kv";
  options.load.engine.speculative_tokens = speculative_tokens(flags.speculative_config);
  options.load.adapters = adapter_sources(flags.lora_modules);
  return options;
}

ChatModelOptions chat_options(const ServeFlags& flags) {
  ChatModelOptions options;
  if (flags.generation_config != "auto" && flags.generation_config != "vllm") {
    throw Error(ErrorCode::kInvalidArgument, "--generation-config must be auto (the model's own) or vllm (none)",
                "--generation-config");
  }
  options.ignore_model_defaults = flags.generation_config == "vllm";
  if (!flags.template_arguments.empty())
    options.template_arguments = parse_json_object(flags.template_arguments, "--default-chat-template-kwargs");
  if (!flags.sampling_overrides.empty())
    options.server_defaults = parse_sampling_options(flags.sampling_overrides, "--override-generation-config");
  return options;
}

// How far the first model's loading is, on the terminal and for /health. Later loads show nothing: `end()` was called.
class FirstLoad {
 public:
  explicit FirstLoad(ServingState& state) : state_(&state) {}
  void begin(std::string name) {
    std::lock_guard lock(mutex_);
    name_ = std::move(name);
    state_->loading(name_, "loading", 0, 0);
    line_.emplace("Loading");
  }
  void show(uint64_t done, uint64_t total) {  // on the loading thread
    std::lock_guard lock(mutex_);
    if (!line_) return;
    state_->loading(name_, "loading", done, total);
    line_->show(done, total);
  }
  void end() {
    std::lock_guard lock(mutex_);
    line_.reset();
  }

 private:
  std::mutex mutex_;
  ServingState* state_;  // not used after end()
  std::string name_;
  std::optional<PercentLine> line_;
};

void print_others(const ServeFlags& flags, const PoolReport& report) {
  if (report.models.size() < 2) return;
  std::vector<std::string> names;
  for (size_t i = 1; i < report.models.size(); ++i) names.push_back(report.models[i].name);
  say(flags, "On demand  {}", fmt::join(names, ", "));
  say(flags, "Budget     {} for all models together{}", format_bytes(report.budget),
      flags.memory_budget == "0" ? " (--memory-budget)" : "");
}

// Loads the first model and announces; afterwards requests are answered.
void bring_up(const ServeFlags& flags, const ModelChoice& choice, const Ports& ports, ServingState& state,
              const std::stop_token& stop) {
  const auto begin = std::chrono::steady_clock::now();
  const auto display = std::make_shared<FirstLoad>(state);
  state.loading(choice.first_name(), "loading", 0, 0);
  ServedModels served;
  {
    ServePullProgress pull(state, choice.first_name());
    served = choice.find(stop, pull, [display](size_t model, uint64_t done, uint64_t total) {
      if (model == 0) display->show(done, total);
    });
  }
  display->begin(served.names.front().id);
  try {
    const PooledModelPtr first = served.pool->hold_or_wait({}, stop);
    display->end();
    print_model(flags, *chat_model_of(first));
  } catch (...) {
    display->end();
    throw;
  }
  print_others(flags, served.pool->report());
  state.ready(served.pool, served.names);
  print_addresses(flags, ports);
  notify_service_manager("READY=1");
  say(flags, "Ready after {:.1f} s. Ctrl-C ends.",
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
}

void serve(const ServeFlags& flags) {
  set_up_logging(flags.log_level, parse_log_format(flags.log_format));
  for (const auto& notice : flags.vllm->notices()) spdlog::info("{}", notice);
  // What is wrong is said before anything is fetched.
  parse_dtype(flags.dtype);
  const ModelChoice choice(flags.models, model_options(flags), chat_options(flags));

  const auto state = std::make_shared<ServingState>();
  Router router;
  add_openai_routes(router, state);
  add_operator_routes(router, state, CARRONADE_VERSION);
  add_docs_routes(router, CARRONADE_VERSION);
  add_web_routes(router);
  const auto keys = open_key_ring(flags.access, flags.data_dir);
  HttpServer server(router, server_options(flags.access, keys));
  const Ports ports = listen(server, flags);
  warn_when_open(flags, *keys);

  StopWait stop;
  server.on_signal([&stop](int number) {
    if (stop.token().stop_requested()) ::_exit(128 + number);
    stop.request();
  });
  server.start();
  try {
    bring_up(flags, choice, ports, *state, stop.token());
    stop.wait();
  } catch (const Error& error) {
    if (error.code != ErrorCode::kCancelled || !stop.token().stop_requested()) throw;
  }
  notify_service_manager("STOPPING=1");
  state->draining();
  if (const int running = state->running_answers; running > 0) {
    say(flags, "Ending {} running answer{} within {:g} s; Ctrl-C again ends at once.", running, running == 1 ? "" : "s",
        flags.shutdown_timeout);
  }
  const auto grace = std::chrono::milliseconds(static_cast<int64_t>(flags.shutdown_timeout * 1000));
  if (!server.stop(grace)) {
    spdlog::error("some answers did not end in time");
    ::_exit(1);
  }
  state->drop();
}

void add_main_flags(CLI::App& command, ServeFlags& flags) {
  add_model_flags(command, flags.models);
  command.add_option("--host", flags.host, "Address to listen on; 0.0.0.0 for all (default 127.0.0.1, or VLLM_HOST)");
  command.add_option("--port", flags.port, "Port of the API (default 8000, or VLLM_PORT; 0: a free one)");
  command.add_option("--ui-port", flags.ui_port, "Port of the chat page (default 7860; 0: no page)");
  add_access_flags(command, flags.access);
  command
      .add_option("--max-model-len", flags.max_model_len,
                  "Tokens of one conversation, prompt and answer: 8192, 8k, 8K, or auto for as many as there is room "
                  "for (default: the model's, at most 4096)")
      ->type_name("TOKENS");
  command.add_option("--max-num-seqs", flags.max_num_seqs, "Answers made at once")->check(CLI::NonNegativeNumber);
  command.add_option("--max-num-batched-tokens", flags.max_num_batched_tokens, "Tokens computed in one step")
      ->type_name("TOKENS");
  command.add_option("--threads", flags.threads, "Threads to compute with (default: all there are)")
      ->check(CLI::NonNegativeNumber);
}

void add_more_flags(CLI::App& command, ServeFlags& flags) {
  command
      .add_option("--data-dir", flags.data_dir, "Folder of what the server keeps (default ~/.local/share/carronade)")
      ->type_name("DIR");
  command.add_option("--download-dir", flags.download_dir, "Folder of the models (default: the cache folder)")
      ->type_name("DIR");
  command
      .add_option("--chat-template", flags.chat_template,
                  "Jinja template instead of the model's own: a file, or the text")
      ->type_name("FILE");
  command
      .add_option("--default-chat-template-kwargs", flags.template_arguments,
                  "Variables for every template, as a JSON object")
      ->type_name("JSON");
  command.add_option("--generation-config", flags.generation_config, "auto: the model's sampling defaults; vllm: none");
  command.add_option("--override-generation-config", flags.sampling_overrides, "Sampling defaults, as a JSON object")
      ->type_name("JSON");
  command.add_option("--dtype", flags.dtype, kDtypeHelp)->type_name("TYPE");
  command.add_option("--revision", flags.revision, kRevisionHelp)->type_name("REVISION");
  command.add_option("--kv-cache-dtype", flags.kv_dtype, kKvCacheDtypeHelp);
  command
      .add_option("--kv-cache-memory-bytes", flags.kv_memory,
                  "Memory for what answers remember, as 2GiB (default: what they need, at most half of what is free)")
      ->type_name("SIZE");
  command.add_flag("--enable-prefix-caching,!--no-enable-prefix-caching", flags.prefix_cache,
                   "Keep what prompts have in common (default on)");
  command
      .add_option("--memory-budget", flags.memory_budget,
                  "For weights, KV cache and working memory together, all that the models may take (4GiB); without it "
                  "the KV cache takes what --max-num-seqs and --max-model-len need, at most half of the free memory, "
                  "and several models share four fifths of what is free at start")
      ->type_name("SIZE");
  command
      .add_option("--kv-disk", flags.kv_disk,
                  "Keep what conversations were read into on disk, so that they go on quickly after a restart: at most "
                  "so much (4GiB), under the data folder (default 0: nothing)")
      ->type_name("SIZE");
  command
      .add_option("--lora-modules", flags.lora_modules,
                  "Adapters (GGUF, or a folder of PEFT's), each served as a model of its own name: NAME=PATH …")
      ->type_name("NAME=PATH");
  command
      .add_option("--speculative-config", flags.speculative_config,
                  R"(How tokens are guessed from the text itself, which is faster and changes no answer (default )"
                  R"({"method": "ngram", "num_speculative_tokens": 6}; 0: not at all))")
      ->type_name("JSON");
  command
      .add_option("--shutdown-timeout", flags.shutdown_timeout,
                  "Seconds that running answers get when the server ends (default 30)")
      ->check(CLI::Range(0.0, 86400.0));
  add_connection_flags(command, flags.access);
  command.add_option("--log-format", flags.log_format, "text, or json: one object a line (default text)");
  command.add_option("--log-level", flags.log_level, "debug, info, warn or error (default info)");
}

}  // namespace

void add_serve_command(CLI::App& app) {
  auto flags = std::make_shared<ServeFlags>();
  CLI::App* command = app.add_subcommand("serve", "Serve the chat page and an OpenAI-compatible API");
  add_main_flags(*command, *flags);
  add_more_flags(*command, *flags);
  flags->vllm = std::make_unique<VllmFlagNotices>(*command);
  command->footer(R"(Examples:
  carronade serve                                     the default model; open http://127.0.0.1:7860
  carronade serve qwen2.5-coder-1.5b --max-model-len 8192
  carronade serve ./model.gguf --port 9000 --ui-port 0
  carronade serve qwen2.5-coder-1.5b smollm2-135m --memory-budget 4GiB
  carronade serve --models-dir ./models --keep-alive 10m
  carronade serve Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q8_0 --host 0.0.0.0 --api-key SECRET

Flags of `vllm serve` are understood, with hyphens or underscores.)");
  command->callback([flags] { serve(*flags); });
  // Set before parsing, so that the command line comes first.
  flags->host = from_environment({"VLLM_HOST"}, flags->host);
  flags->port = from_environment({"VLLM_PORT"}, flags->port);
}

}  // namespace carronade
