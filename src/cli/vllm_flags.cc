#include "cli/vllm_flags.h"

#include <CLI/CLI.hpp>

namespace carronade {

namespace {
constexpr std::string_view kNoCode = "no code from a model's repository is ever run";
constexpr std::string_view kOneDevice = "the model runs on this machine's processor, all threads of it";
constexpr std::string_view kLora =
    "adapters named with --lora-modules are always served, as many and as large as they are";
constexpr std::string_view kNoTools = "tool calls are not supported by this version";
constexpr std::string_view kFromFile = "the model's own files say it";

constexpr ForeignName kWithValue[] = {
    {"quantization", "the weights are used in the format of their file"},
    {"load-format", kFromFile, "auto"},
    {"config-format", kFromFile, "auto"},
    {"tokenizer", "the tokenizer is the one in the model's file"},
    {"tokenizer-mode", kFromFile, "auto"},
    {"gpu-memory-utilization", "memory is what --max-model-len and --max-num-seqs need, and is said at start"},
    {"swap-space", "nothing is swapped: sequences that must wait are computed again, or come back from --kv-disk"},
    {"cpu-offload-gb", kOneDevice},
    {"tensor-parallel-size", kOneDevice, "1"},
    {"pipeline-parallel-size", kOneDevice, "1"},
    {"data-parallel-size", kOneDevice, "1"},
    {"distributed-executor-backend", kOneDevice},
    {"device", kOneDevice, "cpu"},
    {"block-size", "a block has 16 positions", "16"},
    {"max-lora-rank", kLora},
    {"max-loras", kLora},
    {"reasoning-parser", "thoughts are told from answers by the model's template, for every model"},
    {"tool-call-parser", kNoTools},
    {"uvicorn-log-level", "use --log-level"},
    {"response-role", "the role is always assistant", "assistant"},
    {"guided-decoding-backend", "structured answers are not supported by this version", "auto"},
    {"limit-mm-per-prompt", "only text is supported"},
    {"task", "the model generates text", "generate"},
    {"runner", "the model generates text", "generate"},
    {"scheduling-policy", "requests are served in the order in which they come", "fcfs"},
    {"allowed-origins", "pages of other origins are not let in by this version"},
};

constexpr ForeignName kWithoutValue[] = {
    {"trust-remote-code", kNoCode},
    {"enforce-eager", "there are no graphs to capture"},
    {"enable-chunked-prefill", "prompts are always computed in chunks"},
    {"no-enable-chunked-prefill", "prompts are always computed in chunks"},
    {"enable-lora", kLora},
    {"enable-reasoning", "thoughts are told from answers by the model's template, for every model"},
    {"enable-auto-tool-choice", kNoTools},
    {"enable-prompt-tokens-details", "usage always says how many tokens were cached"},
    {"disable-log-stats", "no statistics are logged"},
    {"disable-log-requests", "prompts are never logged"},
    {"no-enable-log-requests", "prompts are never logged"},
    {"enable-log-requests", "prompts are never logged"},
    {"disable-uvicorn-access-log", "each answer has one line in the log; --log-level warn leaves them out"},
    {"allow-credentials", "pages of other origins are not let in"},
};
}  // namespace

const std::vector<VllmFlag>& vllm_flags() {
  static const std::vector<VllmFlag> flags = [] {
    std::vector<VllmFlag> all;
    for (const ForeignName& name : kWithValue) all.push_back({name, true});
    for (const ForeignName& name : kWithoutValue) all.push_back({name, false});
    return all;
  }();
  return flags;
}

VllmFlagNotices::VllmFlagNotices(CLI::App& app) {
  for (const auto& flag : vllm_flags()) {
    auto given = std::make_unique<Given>(Given{&flag, {}, 0});
    const std::string name = "--" + std::string(flag.name);
    if (flag.takes_value) {
      app.add_option_function<std::string>(name,
                                           [entry = given.get()](const std::string& value) {
                                             ++entry->count;
                                             entry->value = value;
                                           })
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
          ->group("");
    } else {
      app.add_flag_function(name, [entry = given.get()](int64_t) { ++entry->count; })->group("");
    }
    given_.push_back(std::move(given));
  }
}

std::vector<std::string> VllmFlagNotices::notices() const {
  std::vector<std::string> result;
  for (const auto& given : given_) {
    if (given->count == 0 || (!given->flag->neutral.empty() && given->value == given->flag->neutral)) continue;
    result.push_back("--" + std::string(given->flag->name) + " has no effect: " + std::string(given->flag->why));
  }
  return result;
}

}  // namespace carronade
