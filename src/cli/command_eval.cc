// carronade eval
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "cli/commands.h"
#include "cli/eval_input.h"
#include "cli/evaluation.h"
#include "cli/kv_cache_dtype.h"
#include "cli/logprob_golden.h"
#include "cli/open_model.h"
#include "cli/percent_line.h"

namespace carronade {
namespace {

using nlohmann::ordered_json;

constexpr int kContext = 2048;  // default piece of a long text: what a conversation's usual length is

struct EvalFlags {
  std::string model, text, tokens, compare;
  std::string backend = "cpu", isa, kv_dtype = "auto";
  int context = 0, chunk = 128, threads = 0;
  size_t positions = 0;
  std::optional<int> logprobs;
  bool float_activations = false, json = false, embed = false;
};

// ---- What is read

struct Input {
  std::vector<std::vector<TokenId>> sequences;
  std::optional<LogprobGolden> golden;
};

std::string read_text(const std::string& file) {
  if (!file.empty() && file != "-") return read_file(file, 1ull << 30);
  if (file.empty() && ::isatty(STDIN_FILENO) == 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "what is to be evaluated? --text FILE, --tokens FILE, --compare GOLDEN, or a text on standard input");
  }
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

Input read_input(const EvalFlags& flags, const Checkpoint& checkpoint, const ModelConfig& config) {
  Input input;
  if (!flags.compare.empty()) {
    input.golden = LogprobGolden::read(flags.compare);
    input.sequences = input.golden->sequences;
  } else if (!flags.tokens.empty()) {
    input.sequences = parse_token_sequences(read_text(flags.tokens), flags.tokens);
  } else {
    if (flags.context > config.context_length) {
      throw_error(ErrorCode::kInvalidArgument, "--context {} is more than the model's {}", flags.context,
                  config.context_length);
    }
    const auto tokenizer = Tokenizer::create(checkpoint.tokenizer_data());
    if (flags.embed) {
      input.sequences = split_lines(*tokenizer, read_text(flags.text));
      return input;
    }
    const int context = flags.context > 0 ? flags.context : std::min(config.context_length, kContext);
    input.sequences = cut_text(*tokenizer, read_text(flags.text), context);
  }
  if (input.sequences.empty() && !flags.embed)
    throw Error(ErrorCode::kInvalidArgument, "there is nothing to evaluate: no two tokens");
  return input;
}

// ---- What comes of it

struct Scores {
  Mean surprise;  // -log p of the tokens that came, in nats

  // With a golden only.
  Mean golden_surprise, surprise_difference, divergence;
  size_t same_top = 0;
  std::vector<double> divergences;

  void add(double own) { surprise.add(own); }
  void compare(double own, double golden, double kl, bool same) {
    golden_surprise.add(golden);
    surprise_difference.add(own - golden);
    divergence.add(kl);
    divergences.push_back(kl);
    same_top += same ? 1 : 0;
  }
};

ordered_json summary_of(const Scores& scores) {
  const double perplexity = std::exp(scores.surprise.mean());
  ordered_json json = {{"positions", scores.surprise.count()},
                       {"mean_logprob", -scores.surprise.mean()},
                       {"perplexity", perplexity},
                       {"perplexity_error", perplexity * scores.surprise.error()}};
  if (scores.divergences.empty()) return json;
  std::vector<double> sorted = scores.divergences;
  std::sort(sorted.begin(), sorted.end());
  const auto at = static_cast<size_t>(std::ceil(0.99 * static_cast<double>(sorted.size()))) - 1;
  const double ratio = std::exp(scores.surprise_difference.mean());
  json["golden_perplexity"] = std::exp(scores.golden_surprise.mean());
  json["perplexity_ratio"] = ratio;
  json["perplexity_ratio_error"] = ratio * scores.surprise_difference.error();
  json["mean_kl"] = scores.divergence.mean();
  json["mean_kl_error"] = scores.divergence.error();
  json["p99_kl"] = sorted[at];
  json["max_kl"] = sorted.back();
  json["same_top"] = static_cast<double>(scores.same_top) / static_cast<double>(sorted.size());
  return json;
}

// A JSON line for one position. Six decimals: float logits of size 20 have no more.
void print_position(const Prediction& prediction, double log_sum, std::optional<double> kl, std::vector<float>& scratch,
                    fmt::memory_buffer& out) {
  out.clear();
  const auto add = [&]<typename... T>(fmt::format_string<T...> format, T&&... values) {
    fmt::format_to(std::back_inserter(out), format, std::forward<T>(values)...);
  };
  const auto logprob = [&](TokenId token) {
    return static_cast<double>(prediction.logits[static_cast<size_t>(token)]) - log_sum;
  };
  add(R"({{"sequence":{},"position":{},"token":{},"logprob":{:.6f},"top":[)", prediction.sequence, prediction.position,
      prediction.token, logprob(prediction.token));
  std::vector<TokenId> listed;
  for (const Candidate& candidate : prediction.best) {
    add("{}[{},{:.6f}]", listed.empty() ? "" : ",", candidate.token, logprob(candidate.token));
    listed.push_back(candidate.token);
  }
  const double rest = log_rest(prediction.logits, log_sum, listed, scratch);
  if (std::isfinite(rest))
    add("],\"rest\":{:.6f}", rest);
  else
    add("],\"rest\":null");
  if (kl) add(",\"kl\":{:.4g}", *kl);
  add("}}\n");
  std::fwrite(out.data(), 1, out.size(), stdout);
}

// Takes every prediction, keeps the scores, prints what is to be printed at once.
class Judge {
 public:
  Judge(const EvalFlags& flags, const Input& input, PercentLine& progress)
      : flags_(flags), input_(input), progress_(progress), of_sequence_(input.sequences.size()) {
    for (const auto& sequence : input.sequences) total_ += sequence.size() - 1;
    if (!input.golden) return;
    size_t first = 0;
    for (const auto& sequence : input.golden->sequences) {
      golden_first_.push_back(first);
      first += sequence.size() - 1;
    }
  }

  void operator()(const Prediction& prediction) {
    const double log_sum = log_sum_exp(prediction.logits);
    const double own = log_sum - static_cast<double>(prediction.logits[static_cast<size_t>(prediction.token)]);
    std::optional<double> kl;
    for (Scores* scores : {&all_, &of_sequence_[prediction.sequence]}) {
      scores->add(own);
      if (!input_.golden) continue;
      const LogprobGolden& golden = *input_.golden;
      const size_t at = golden_first_[prediction.sequence] + prediction.position - 1;
      if (!kl) kl = divergence(golden, at, prediction.logits, log_sum, scratch_);
      scores->compare(own, -static_cast<double>(golden.actual[at]), *kl,
                      prediction.best.front().token == golden.tokens_at(at).front());
    }
    if (flags_.logprobs) {
      Prediction shown = prediction;
      shown.best = shown.best.first(static_cast<size_t>(*flags_.logprobs));
      print_position(shown, log_sum, kl, scratch_, line_);
    }
    progress_.show(++done_, total_);
  }

  const Scores& all() const { return all_; }
  const Scores& of_sequence(size_t s) const { return of_sequence_[s]; }

 private:
  const EvalFlags& flags_;
  const Input& input_;
  PercentLine& progress_;
  Scores all_;
  std::vector<Scores> of_sequence_;
  std::vector<size_t> golden_first_;  // [sequences] in the golden's positions
  std::vector<float> scratch_;
  fmt::memory_buffer line_;
  size_t done_ = 0, total_ = 0;
};

// A JSON line for each sequence. Nine digits are a float, exactly.
void print_vectors(const Input& input, Model& model, Backend& backend, DType kv_dtype) {
  fmt::memory_buffer out;
  embed(model, backend, input.sequences, kv_dtype, [&](size_t sequence, std::span<const float> vector) {
    out.clear();
    fmt::format_to(std::back_inserter(out), R"({{"sequence":{},"tokens":{},"embedding":[{:.9g}]}})", sequence,
                   input.sequences[sequence].size(), fmt::join(vector, ","));
    out.push_back('\n');
    std::fwrite(out.data(), 1, out.size(), stdout);
  });
}

struct Report {
  std::string model, kv_dtype;
  DeviceInfo device;
  double seconds = 0;
};

ordered_json to_json(const EvalFlags& flags, const Report& report, const Input& input, const Judge& judge) {
  ordered_json json = {{"model", report.model},
                       {"backend", report.device.name},
                       {"isa", report.device.variant},
                       {"threads", report.device.threads},
                       {"activations", flags.float_activations || flags.backend == "reference" ? "float" : "rounded"},
                       {"kv_cache_dtype", report.kv_dtype},
                       {"seconds", report.seconds}};
  json.update(summary_of(judge.all()));
  for (size_t s = 0; s < input.sequences.size(); ++s) {
    ordered_json one;
    if (input.golden) one["name"] = input.golden->names[s];
    one.update(summary_of(judge.of_sequence(s)));
    json["sequences"].push_back(one);
  }
  return json;
}

void print_for_people(std::FILE* out, const EvalFlags& flags, const Report& report, const Input& input,
                      const Judge& judge) {
  const ordered_json all = summary_of(judge.all());
  const auto number = [&](const char* key) { return all.at(key).get<double>(); };
  const size_t positions = judge.all().surprise.count(), sequences = input.sequences.size();
  const bool rounded = !flags.float_activations && flags.backend == "cpu";
  fmt::print(out,
             "{} on {} ({}, {} threads), {} activations, KV cache {}: {} tokens of {} sequence{}, {:.0f} a second\n\n",
             report.model, report.device.name, report.device.variant, report.device.threads,
             rounded ? "rounded" : "float", report.kv_dtype, positions, sequences, sequences == 1 ? "" : "s",
             static_cast<double>(positions) / std::max(report.seconds, 1e-9));
  fmt::print(out, "  perplexity        {:>12.4f} ± {:.4f}\n", number("perplexity"), number("perplexity_error"));
  if (!input.golden) return;
  fmt::print(out, "\nAgainst {} ({}):\n\n", flags.compare, input.golden->oracle);
  fmt::print(out, "  its perplexity    {:>12.4f}, ours is {:.5f} ± {:.5f} times that\n", number("golden_perplexity"),
             number("perplexity_ratio"), number("perplexity_ratio_error"));
  fmt::print(out, "  divergence (KL)   {:>12.3e} ± {:.1e} nats in the mean; 99 % below {:.2e}, largest {:.2e}\n",
             number("mean_kl"), number("mean_kl_error"), number("p99_kl"), number("max_kl"));
  fmt::print(out, "  same top token    {:>12.2f} %\n", 100 * number("same_top"));
}

// ---- The command

std::unique_ptr<Backend> make_backend(const EvalFlags& flags) {
  BackendOptions options;
  options.threads = flags.threads;
  options.isa = flags.isa;
  options.float_activations = flags.float_activations;
  return flags.backend == "cpu" ? make_cpu_backend(options) : make_reference_backend(options);
}

void run_eval(const EvalFlags& flags) {
  const DType kv_dtype = parse_kv_cache_dtype(flags.kv_dtype);
  const Hub hub;
  const LocalModel local = find_installed(hub, flags.model);
  const auto checkpoint = Checkpoint::open(local.path);
  Input input = read_input(flags, *checkpoint, read_model_config(*checkpoint));
  if (flags.positions > 0) shorten(input.sequences, flags.positions);

  const auto backend = make_backend(flags);
  std::unique_ptr<Model> model;
  {
    PercentLine line("Loading");
    model = Model::load(*checkpoint, *backend, [&](uint64_t done, uint64_t total) { line.show(done, total); });
  }
  if (flags.embed) return print_vectors(input, *model, *backend, kv_dtype);
  if (model->config().encoder) {
    throw_error(ErrorCode::kUnsupported, "a {} model makes vectors of texts (--embed) and predicts no tokens",
                model->config().architecture);
  }
  EvaluationOptions options{.chunk = flags.chunk, .kv_dtype = kv_dtype, .top = flags.logprobs.value_or(0)};
  if (input.golden) options.top = std::max(options.top, 1);
  options.top = std::min(options.top, model->config().vocabulary);
  EvalFlags shown = flags;
  if (shown.logprobs) shown.logprobs = std::min(*shown.logprobs, model->config().vocabulary);

  const auto start = std::chrono::steady_clock::now();
  std::optional<PercentLine> line("Evaluating");
  Judge judge(shown, input, *line);
  evaluate(*model, *backend, input.sequences, options, std::ref(judge));
  line.reset();
  Report report{local.name, std::string(info(kv_dtype).name), backend->device(), 0};
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::transform(report.kv_dtype.begin(), report.kv_dtype.end(), report.kv_dtype.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (flags.json)
    fmt::print("{}\n", to_json(flags, report, input, judge).dump());
  else  // with --logprobs standard output is all JSON
    print_for_people(flags.logprobs ? stderr : stdout, flags, report, input, judge);
}

constexpr const char* kMeaning = R"(
The model reads each sequence from its beginning and says of every token but the first how probable it was. A text is data: nothing in it is
taken for a control token; one longer than --context is cut, and each piece begins afresh. Results do not depend on --chunk and --threads.

  perplexity          e to the mean surprise (-log p) of the tokens that came, with the standard error of that mean
  --logprobs K        prints {"sequence", "position", "token", "logprob", "top": [[token, logprob] …], "rest"} for each token, in natural
                      logarithms; rest: of all tokens that are not in top together (null: there are none); with --compare also "kl"
  --embed             prints {"sequence", "tokens", "embedding"} for each sequence instead: one vector, pooled as the model's files say, not
                      normalized. Of a text each line is a sequence
  --compare GOLDEN    holds the model against answers of an oracle to the sequences in that file (tests/golden/fidelity has some): the divergence
                      KL(oracle ‖ model) over its listed tokens and one bin for the others, how often both prefer the same token, and
                      the ratio of their perplexities

Examples:
  carronade eval smollm2-135m --text book.txt
  cat *.cc | carronade eval qwen2.5-coder-0.5b --json
  carronade eval ./model.gguf --tokens ids.json --logprobs 5 --backend reference
  carronade eval smollm2-135m --compare tests/golden/fidelity/smollm2-135m.logprobs --float-activations)";

void add_input_options(CLI::App& command, EvalFlags& flags) {
  command.add_option("MODEL", flags.model, "A file or folder, or the name of an installed model (`carronade list`)")
      ->required();
  CLI::Option* text =
      command.add_option("--text", flags.text, "Text to evaluate (-, or nothing: standard input)")->type_name("FILE");
  CLI::Option* tokens =
      command.add_option("--tokens", flags.tokens, "Token ids instead: JSON arrays, one a line, or one array")
          ->type_name("FILE")
          ->excludes(text);
  command.add_option("--compare", flags.compare, "Golden log-probabilities, which bring their own tokens")
      ->type_name("GOLDEN")
      ->excludes(text)
      ->excludes(tokens);
  command
      .add_option("--context", flags.context, "Tokens of a text's pieces (default: the model's context, at most 2048)")
      ->check(CLI::Range(2, 1 << 28));
  command.add_option("--positions", flags.positions, "Predict at most so many tokens, the same share of each sequence")
      ->check(CLI::Range(size_t{1}, size_t{1} << 40));
}

}  // namespace

void add_eval_command(CLI::App& app) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* command =
      app.add_subcommand("eval", "Measure how well a model predicts a text, or how close it is to an oracle");
  command->footer(kMeaning);
  add_input_options(*command, *flags);
  CLI::Option* logprobs =
      command
          ->add_option("--logprobs", flags->logprobs, "Print a JSON line for each token, with the K most probable ones")
          ->type_name("K")
          ->check(CLI::Range(0, 1 << 20));
  CLI::Option* json =
      command->add_flag("--json", flags->json, "The summary as one JSON object on standard output, its last line");
  command->add_flag("--embed", flags->embed, "Print a JSON line with the vector of each sequence (embedding models)")
      ->excludes(logprobs)
      ->excludes(json)
      ->excludes(command->get_option("--compare"));
  command->add_option("--kv-cache-dtype", flags->kv_dtype, kKvCacheDtypeHelp);
  command->add_flag("--float-activations", flags->float_activations,
                    "Keep activations in float; otherwise they are rounded to 8 bits, or to BF16 "
                    "where weights are BF16 and the processor multiplies it (slow; for comparisons)");
  command->add_option("--chunk", flags->chunk, "Tokens computed in one step")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--threads", flags->threads, "Threads that compute (0: all)")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--isa", flags->isa, "Instruction set (CARRONADE_ISA does the same)");
  command->add_option("--backend", flags->backend, "cpu | reference (the slow oracle)")
      ->check(CLI::IsMember({"cpu", "reference"}))
      ->capture_default_str();
  command->callback([flags] { run_eval(*flags); });
}

}  // namespace carronade
