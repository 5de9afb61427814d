#include "cli/vllm_flags.h"

#include <CLI/CLI.hpp>

namespace carronade {

namespace {
constexpr std::string_view kNoCode = "no code from a model's repository is ever run";
constexpr std::string_view kOneDevice = "the model runs on this machine's processor, all threads of it";
constexpr std::string_view kNoLora = "adapters are not supported by this version";
constexpr std::string_view kNoTools = "tool calls are not supported by this version";
constexpr std::string_view kFromFile = "the model's own files say it";
}  // namespace

const std::vector<VllmFlag>& vllm_flags() {
  static const std::vector<VllmFlag> flags = {
      {"dtype", true, "the weights are used in the format of their file", "auto"},
      {"quantization", true, "the weights are used in the format of their file", ""},
      {"load-format", true, kFromFile, "auto"},
      {"config-format", true, kFromFile, "auto"},
      {"tokenizer", true, "the tokenizer is the one in the model's file", ""},
      {"tokenizer-mode", true, kFromFile, "auto"},
      {"revision", true, "name it with the model: org/repo@revision", ""},
      {"trust-remote-code", false, kNoCode, ""},
      {"gpu-memory-utilization", true, "memory is what --max-model-len and --max-num-seqs need, and is said at start",
       ""},
      {"swap-space", true, "nothing is swapped: sequences that must wait are computed again", ""},
      {"cpu-offload-gb", true, kOneDevice, ""},
      {"tensor-parallel-size", true, kOneDevice, "1"},
      {"pipeline-parallel-size", true, kOneDevice, "1"},
      {"data-parallel-size", true, kOneDevice, "1"},
      {"distributed-executor-backend", true, kOneDevice, ""},
      {"device", true, kOneDevice, "cpu"},
      {"enforce-eager", false, "there are no graphs to capture", ""},
      {"block-size", true, "a block has 16 positions", "16"},
      {"enable-chunked-prefill", false, "prompts are always computed in chunks", ""},
      {"no-enable-chunked-prefill", false, "prompts are always computed in chunks", ""},
      {"enable-lora", false, kNoLora, ""},
      {"lora-modules", true, kNoLora, ""},
      {"max-lora-rank", true, kNoLora, ""},
      {"max-loras", true, kNoLora, ""},
      {"speculative-config", true, "speculation is not supported by this version; answers are the same without it", ""},
      {"reasoning-parser", true, "thoughts are told from answers by the model's template, for every model", ""},
      {"enable-reasoning", false, "thoughts are told from answers by the model's template, for every model", ""},
      {"enable-auto-tool-choice", false, kNoTools, ""},
      {"tool-call-parser", true, kNoTools, ""},
      {"enable-prompt-tokens-details", false, "usage always says how many tokens were cached", ""},
      {"disable-log-stats", false, "no statistics are logged", ""},
      {"disable-log-requests", false, "prompts are never logged", ""},
      {"no-enable-log-requests", false, "prompts are never logged", ""},
      {"enable-log-requests", false, "prompts are never logged", ""},
      {"disable-uvicorn-access-log", false, "each answer has one line in the log; --log-level warn leaves them out",
       ""},
      {"uvicorn-log-level", true, "use --log-level", ""},
      {"response-role", true, "the role is always assistant", "assistant"},
      {"guided-decoding-backend", true, "structured answers are not supported by this version", "auto"},
      {"limit-mm-per-prompt", true, "only text is supported", ""},
      {"task", true, "the model generates text", "generate"},
      {"runner", true, "the model generates text", "generate"},
      {"scheduling-policy", true, "requests are served in the order in which they come", "fcfs"},
      {"allow-credentials", false, "pages of other origins are not let in", ""},
      {"allowed-origins", true, "pages of other origins are not let in by this version", ""},
  };
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
    if (given->count == 0 || (!given->flag->quiet.empty() && given->value == given->flag->quiet)) continue;
    result.push_back("--" + std::string(given->flag->name) + " has no effect: " + std::string(given->flag->why));
  }
  return result;
}

}  // namespace carronade
