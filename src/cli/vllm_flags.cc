#include "cli/vllm_flags.h"

#include <span>

#include <CLI/CLI.hpp>

#include "base/error.h"

namespace carronade {

namespace {
constexpr std::string_view kNoCode = "no code from a model's repository is ever run";
constexpr std::string_view kOneDevice = "the model runs on this machine's processor, all threads of it";
constexpr std::string_view kLora =
    "adapters named with --lora-modules are always served, as many and as large as they are";
constexpr std::string_view kNoTools = "tool calls are not supported by this version";
constexpr std::string_view kFromFile = "the model's own files say it";
constexpr std::string_view kText = "only text is supported";
constexpr std::string_view kNoGraphs = "there are no graphs to capture and nothing is compiled at start";
constexpr std::string_view kChunks = "a long prompt is computed in chunks between the steps of other answers";
constexpr std::string_view kNoPrompts = "prompts and answers are never logged";
constexpr std::string_view kClientCertificates = "clients show a key, not a certificate";
constexpr std::string_view kOtherModel = "the model is computed as its files say";
constexpr std::string_view kDraft = R"(guess tokens from the text itself: --speculative-config '{"method": "ngram"}')";

// Without these the server still is what was asked for.
constexpr ForeignName kWithValue[] = {
    {"quantization", "the weights are used in the format of their file"},
    {"load-format", kFromFile, "auto"},
    {"config-format", kFromFile, "auto"},
    {"model-impl", "there is one implementation", "auto"},
    {"model-loader-extra-config", kFromFile},
    {"safetensors-load-strategy", "files are mapped into memory"},
    {"ignore-patterns", "only the files that make the model are fetched"},
    {"max-parallel-loading-workers", "files are mapped into memory"},
    {"tokenizer", "the tokenizer is the one in the model's files"},
    {"tokenizer-revision", "--revision is the tokenizer's too"},
    {"tokenizer-mode", kFromFile, "auto"},
    {"hf-config-path", kFromFile},
    {"code-revision", kNoCode},
    {"seed", "each request is drawn with a seed of its own, which may be given in it", "0"},
    {"gpu-memory-utilization", "memory is what --max-model-len and --max-num-seqs need, and is said at start"},
    {"swap-space", "nothing is swapped: sequences that must wait are computed again, or come back from --kv-disk"},
    {"cpu-offload-gb", kOneDevice, "0"},
    {"tensor-parallel-size", kOneDevice, "1"},
    {"pipeline-parallel-size", kOneDevice, "1"},
    {"data-parallel-size", kOneDevice, "1"},
    {"api-server-count", "one process serves, with several threads", "1"},
    {"distributed-executor-backend", kOneDevice},
    {"device", kOneDevice, "cpu"},
    {"block-size", "a block has 16 positions", "16"},
    {"num-gpu-blocks-override", "give --kv-cache-memory-bytes"},
    {"prefix-caching-hash-algo", "beginnings are compared token by token"},
    {"preemption-mode", "sequences that must wait are computed again, or come back from --kv-disk", "recompute"},
    {"compilation-config", kNoGraphs},
    {"optimization-level", kNoGraphs},
    {"max-seq-len-to-capture", kNoGraphs},
    {"cuda-graph-sizes", kNoGraphs},
    {"cudagraph-capture-sizes", kNoGraphs},
    {"max-cudagraph-capture-size", kNoGraphs},
    {"attention-backend", kOneDevice},
    {"num-scheduler-steps", "tokens are sent as soon as they are there", "1"},
    {"stream-interval", "tokens are sent as soon as they are there", "1"},
    {"scheduler-delay-factor", "requests do not wait for others", "0.0"},
    {"scheduling-policy", "requests are served in the order in which they come", "fcfs"},
    {"max-num-partial-prefills", kChunks},
    {"max-long-partial-prefills", kChunks},
    {"long-prefill-token-threshold", kChunks},
    {"max-lora-rank", kLora},
    {"max-loras", kLora},
    {"max-cpu-loras", kLora},
    {"lora-dtype", kLora, "auto"},
    {"lora-extra-vocab-size", kLora},
    {"reasoning-parser", "thoughts are told from answers by the model's template, for every model"},
    {"tool-call-parser", kNoTools},
    {"guided-decoding-backend", "structured answers are not supported by this version", "auto"},
    {"structured-outputs-config", "structured answers are not supported by this version"},
    {"response-role", "the role is always assistant", "assistant"},
    {"chat-template-content-format", "messages are given to the template as it reads them", "auto"},
    {"max-logprobs", "a request may ask for up to 20 tokens a position", "20"},
    {"limit-mm-per-prompt", kText},
    {"mm-processor-kwargs", kText},
    {"mm-processor-cache-gb", kText},
    {"allowed-local-media-path", kText},
    {"allowed-media-domains", kText},
    {"task", "the model generates text", "generate"},
    {"runner", "the model generates text", "generate"},
    {"convert", "the model generates text", "auto"},
    {"uvicorn-log-level", "use --log-level", "info"},
    {"log-config-file", "use --log-level"},
    {"max-log-len", kNoPrompts},
    {"disable-access-log-for-endpoints",
     "/health, /ping, /metrics and the page's files have no line in the log unless they fail"},
    {"h11-max-incomplete-event-size", "a request may have 32 KiB of headers and 16 MiB of body"},
    {"h11-max-header-count", "a request may have 32 KiB of headers"},
    {"root-path", "let the proxy take the path's beginning off before it passes requests on"},
    {"allowed-methods", "pages of --allowed-origins may use the methods that the routes have", R"(["*"])"},
    {"allowed-headers", "pages of --allowed-origins may send any header", R"(["*"])"},
    {"otlp-traces-endpoint", "no traces are sent"},
    {"collect-detailed-traces", "no traces are sent"},
};

constexpr ForeignName kWithoutValue[] = {
    {"trust-remote-code", kNoCode},
    {"enforce-eager", kNoGraphs},
    {"enable-chunked-prefill", "prompts are always computed in chunks"},
    {"no-enable-chunked-prefill", "prompts are always computed in chunks"},
    {"async-scheduling", "steps follow each other at once"},
    {"no-async-scheduling", "steps follow each other at once"},
    {"disable-custom-all-reduce", kOneDevice},
    {"disable-cascade-attn", "prompts that begin alike are computed once, and answers do not depend on it"},
    {"disable-frontend-multiprocessing", "one process serves, with several threads"},
    {"use-v2-block-manager", "there is one block manager"},
    {"use-tqdm-on-load", "progress is shown on a terminal"},
    {"no-use-tqdm-on-load", "progress is shown on a terminal"},
    {"enable-lora", kLora},
    {"fully-sharded-loras", kLora},
    {"enable-reasoning", "thoughts are told from answers by the model's template, for every model"},
    {"enable-auto-tool-choice", kNoTools},
    {"exclude-tools-when-tool-choice-none", kNoTools},
    {"enable-prompt-tokens-details", "usage always says how many tokens were cached"},
    {"enable-force-include-usage", "a stream has its usage when its request asks for it (stream_options)"},
    {"enable-request-id-headers", "every answer has an X-Request-Id"},
    {"enable-server-load-tracking", "no load is told by this version"},
    {"disable-fastapi-docs", "there are no such pages"},
    {"enable-offline-docs", "there are no such pages"},
    {"enable-log-outputs", kNoPrompts},
    {"disable-log-stats", "no statistics are logged"},
    {"disable-log-requests", "prompts are never logged"},
    {"no-enable-log-requests", "prompts are never logged"},
    {"enable-log-requests", "prompts are never logged"},
    {"disable-mm-preprocessor-cache", kText},
};

// Without these it would be less safe, another model, or not to be found.
constexpr ForeignName kRefusedWithValue[] = {
    {"config", "give its lines as flags"},
    {"ssl-ca-certs", kClientCertificates},
    {"ssl-cert-reqs", kClientCertificates, "0"},
    {"ssl-ciphers", "TLS 1.2 and 1.3 with forward secrecy are spoken, no other"},
    {"uds", "give --host and --port: this version listens on no Unix socket"},
    {"middleware", kNoCode},
    {"hf-token", "set HF_TOKEN: what stands on a command line, every user of the machine can read"},
    {"hf-overrides", kOtherModel},
    {"rope-scaling", kOtherModel},
    {"rope-theta", kOtherModel},
    {"logits-processors", kNoCode},
    {"logits-processor-pattern", kNoCode},
    {"tool-parser-plugin", kNoCode},
    {"reasoning-parser-plugin", kNoCode},
    {"tool-server", kNoTools},
    {"speculative-model", kDraft},
    {"num-speculative-tokens", kDraft},
    {"kv-transfer-config", "keys and values stay on this machine; --kv-disk keeps them over a restart"},
    {"kv-events-config", "keys and values stay on this machine"},
};

constexpr ForeignName kRefusedWithoutValue[] = {
    {"enable-ssl-refresh", "certificates are read at start: start again to change them"},
    {"return-tokens-as-token-ids", "tokens of logprobs are text, with their bytes beside it"},
    {"trust-request-chat-template", "the template is the model's, or --chat-template"},
    {"skip-tokenizer-init", "requests are text"},
    {"disable-sliding-window", kOtherModel},
    {"headless", "this machine serves alone"},
};

void add(std::vector<VllmFlag>& all, std::span<const ForeignName> names, bool takes_value, bool refused) {
  for (const ForeignName& name : names) all.push_back({name, takes_value, refused});
}

void refuse(const VllmFlag& flag, const std::string& value) {
  if (!flag.refused || (!flag.neutral.empty() && value == flag.neutral)) return;
  const std::string name = "--" + std::string(flag.name);
  throw Error(ErrorCode::kUnsupported, name + " is not supported: " + std::string(flag.why), name);
}
}  // namespace

const std::vector<VllmFlag>& vllm_flags() {
  static const std::vector<VllmFlag> flags = [] {
    std::vector<VllmFlag> all;
    add(all, kWithValue, true, false);
    add(all, kWithoutValue, false, false);
    add(all, kRefusedWithValue, true, true);
    add(all, kRefusedWithoutValue, false, true);
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
                                             refuse(*entry->flag, value);
                                           })
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
          ->group("");
    } else {
      app.add_flag_function(name,
                            [entry = given.get()](int64_t) {
                              ++entry->count;
                              refuse(*entry->flag, {});
                            })
          ->group("");
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
