// carronade bench
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/memory.h"
#include "cli/commands.h"
#include "cli/kv_cache_dtype.h"
#include "cli/open_model.h"

namespace carronade {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

constexpr int kStepRows = 256;  // rows of prompts that a step takes

struct BenchFlags {
  std::string model, isa, backend = "cpu", kv_dtype = "auto";
  int prompt = 512, generate = 64, batch = 1, threads = 0, repeat = 1;
  bool json = false;
};

// When each token of a batch came. Filled on the engine's thread, read on ours when all have ended.
class Stopwatch {
 public:
  explicit Stopwatch(int batch) : times_(static_cast<size_t>(batch)), left_(batch) {}

  EventSink sink(int sequence) {
    return [this, sequence](const EngineEvent& event) {
      const std::lock_guard lock(mutex_);
      const Clock::time_point now = Clock::now();
      if (const auto* finished = std::get_if<Finished>(&event)) {
        if (finished->error) error_ = finished->error;
        --left_;
        ended_.notify_all();
        return;
      }
      if (!std::holds_alternative<TokenEvent>(event)) return;
      times_[static_cast<size_t>(sequence)].push_back(now);
    };
  }

  void wait() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return left_ == 0; });
    if (error_) throw Error(*error_);
  }

  // [sequence][token]; none of a sequence is empty
  const std::vector<std::vector<Clock::time_point>>& times() const { return times_; }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  std::vector<std::vector<Clock::time_point>> times_;
  int left_;
  std::optional<Error> error_;
};

struct Measurement {
  double time_to_first_token = 0, prefill = 0;  // seconds, tokens a second
  std::optional<double> decode;                 // tokens a second, unless answers are too short to tell
};

// Tokens that a sequence writes while prompts that came with its own are still read: at most one a step.
int head_start(int prompt, int batch) { return batch > 1 ? (batch - 1) * prompt / kStepRows + batch : 0; }

// One batch of random prompts, through the engine as any request.
Measurement measure(Engine& engine, int prompt, int generate, int batch, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<TokenId> any(0, engine.model_config().vocabulary - 1);
  Stopwatch stopwatch(batch);
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < batch; ++i) {
    Request request;
    for (int t = 0; t < prompt; ++t) request.prompt.push_back(any(random));
    request.sampling.temperature = 0;
    request.sampling.max_tokens = generate + head_start(prompt, batch);
    request.sink = stopwatch.sink(i);
    engine.submit(std::move(request));
  }
  stopwatch.wait();

  // What they write while all of them write: before, some still wait for their prompts; after, some have ended.
  Clock::time_point earliest = Clock::time_point::max(), all_stream = start, one_ended = Clock::time_point::max();
  for (const auto& times : stopwatch.times()) {
    earliest = std::min(earliest, times.front());
    all_stream = std::max(all_stream, times.front());
    one_ended = std::min(one_ended, times.back());
  }
  int64_t tokens = 0;
  for (const auto& times : stopwatch.times()) {
    tokens += std::count_if(times.begin(), times.end(),
                            [&](Clock::time_point time) { return time > all_stream && time <= one_ended; });
  }
  Measurement result;
  result.time_to_first_token = seconds_between(start, earliest);
  result.prefill = prompt * batch / seconds_between(start, all_stream);
  if (tokens > 0) result.decode = static_cast<double>(tokens) / seconds_between(all_stream, one_ended);
  return result;
}

// The best of several: what disturbs a measurement only ever slows it.
Measurement best_of(const std::vector<Measurement>& all) {
  Measurement best = all.front();
  for (const Measurement& one : all) {
    best.time_to_first_token = std::min(best.time_to_first_token, one.time_to_first_token);
    best.prefill = std::max(best.prefill, one.prefill);
    best.decode = std::max(best.decode, one.decode);
  }
  return best;
}

void print(const BenchFlags& flags, const std::string& name, const LoadedModel& model, double load_seconds,
           const Measurement& result) {
  const DeviceInfo& device = model.engine->device();
  if (flags.json) {
    const nlohmann::ordered_json decode = result.decode ? nlohmann::ordered_json(*result.decode) : nullptr;
    const nlohmann::ordered_json json = {{"model", name},
                                         {"backend", device.name},
                                         {"isa", device.variant},
                                         {"threads", device.threads},
                                         {"kv_cache_dtype", flags.kv_dtype},
                                         {"prompt", flags.prompt},
                                         {"generate", flags.generate},
                                         {"batch", flags.batch},
                                         {"prefill_tokens_per_second", result.prefill},
                                         {"decode_tokens_per_second", decode},
                                         {"time_to_first_token", result.time_to_first_token},
                                         {"load_seconds", load_seconds},
                                         {"peak_rss_bytes", peak_resident_bytes()}};
    fmt::print("{}\n", json.dump());
    return;
  }
  fmt::print("{} on {} ({}, {} threads): {} sequences, prompts of {} tokens, answers of {}\n\n", name, device.name,
             device.variant, device.threads, flags.batch, flags.prompt, flags.generate);
  fmt::print("  prefill               {:>10.1f} tokens/s\n", result.prefill);
  if (result.decode)
    fmt::print("  decode                {:>10.1f} tokens/s, all sequences together\n", *result.decode);
  else
    fmt::print("  decode                not measured: answers of {} are too short\n", flags.generate);
  fmt::print("  time to first token   {:>10.3f} s\n", result.time_to_first_token);
  fmt::print("  load                  {:>10.3f} s\n", load_seconds);
  fmt::print("  peak resident memory  {:>10.1f} MiB\n", static_cast<double>(peak_resident_bytes()) / (1 << 20));
}

void run_bench(const BenchFlags& flags) {
  const Hub hub;
  const LocalModel local = find_installed(hub, flags.model);
  LoadOptions options;
  options.backend_name = flags.backend;
  options.backend.threads = flags.threads;
  options.backend.isa = flags.isa;
  options.engine.kv_dtype = parse_kv_cache_dtype(flags.kv_dtype);
  options.engine.max_model_len = flags.prompt + flags.generate + head_start(flags.prompt, flags.batch) + 1;
  options.engine.max_num_seqs = flags.batch;
  options.engine.max_num_batched_tokens = kStepRows + flags.batch;
  options.engine.pace = false;          // prompts are read as fast as can be, then all write
  options.engine.prefix_cache = false;  // every prompt is read

  const Clock::time_point start = Clock::now();
  const auto model = load_model(local.name, local.path, options);
  const double load_seconds = seconds_between(start, Clock::now());
  // Warms up: so many rows touch the memory that a step of such a prompt needs, as llama-bench's own warm-up does.
  measure(*model->engine, std::min(flags.prompt, kStepRows), std::min(flags.generate, 4), 1, 0);
  std::vector<Measurement> all;
  for (int i = 0; i < flags.repeat; ++i) {
    all.push_back(measure(*model->engine, flags.prompt, flags.generate, flags.batch, static_cast<uint32_t>(i + 1)));
  }
  print(flags, local.name, *model, load_seconds, best_of(all));
}

constexpr const char* kMeaning = R"(
What is measured, through the same engine that serves, after a warm-up (one prompt, at most 256 tokens of it), with random tokens (a fixed
seed) and greedy answers that do not end early:
  prefill_tokens_per_second   tokens of all prompts / seconds from submission until every sequence has its first token
  decode_tokens_per_second    tokens of all sequences together / seconds, from then on until the first has ended; null where
                              answers are too short for that (--generate 1)
  time_to_first_token         seconds from submission until the first sequence has its first token
  load_seconds                opening the files and bringing the weights into the backend's layout
  peak_rss_bytes              the most memory that was resident, pages of the file included

Examples:
  carronade bench smollm2-135m
  carronade bench ./model.gguf --prompt 512 --generate 64 --batch 8 --threads 2 --json)";

}  // namespace

void add_bench_command(CLI::App& app) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* command = app.add_subcommand("bench", "Measure how fast a model runs on this machine");
  command->footer(kMeaning);
  command->add_option("MODEL", flags->model, "A file, or the name of an installed model (`carronade list`)")
      ->required();
  command->add_option("--prompt", flags->prompt, "Tokens of each prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--generate", flags->generate, "Tokens of each answer")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--batch", flags->batch, "Sequences at once")->check(CLI::Range(1, 1024))->capture_default_str();
  command->add_option("--threads", flags->threads, "Threads that compute (0: all)")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--repeat", flags->repeat, "Measure so often and show the best")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--kv-cache-dtype", flags->kv_dtype, kKvCacheDtypeHelp);
  command->add_option("--isa", flags->isa, "Instruction set (CARRONADE_ISA does the same)");
  command->add_option("--backend", flags->backend, "cpu | reference (the slow oracle)")->capture_default_str();
  command->add_flag("--json", flags->json, "One JSON object on standard output");
  command->callback([flags] { run_bench(*flags); });
}

}  // namespace carronade
