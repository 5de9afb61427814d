// carronade doctor
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/doctor_report.h"
#include "cli/model_json.h"
#include "engine/engine.h"

namespace carronade {
namespace {

struct DoctorFlags {
  DoctorOptions options;
  bool json = false;
};

const char* state_name(Finding::State state) {
  return state == Finding::State::kGood ? "good" : state == Finding::State::kWarning ? "warning" : "wrong";
}

std::string users_text(const ModelFit& fit) {
  if (fit.users < 0) return "users unknown";
  if (fit.users == 0) return "does not fit";
  const std::string text = fmt::format("{} user{}", fit.users, fit.users == 1 ? "" : "s");
  return fit.users <= kDefaultSequences ? text : fmt::format("{}, {} at once", text, kDefaultSequences);
}

void print_report(const DoctorReport& report) {
  const bool colours = ::isatty(STDOUT_FILENO) == 1;
  const auto mark = [&](Finding::State state) -> std::string {
    const char* text = state == Finding::State::kGood ? "ok" : state == Finding::State::kWarning ? "!" : "x";
    const char* colour = state == Finding::State::kGood ? "32" : state == Finding::State::kWarning ? "33" : "31";
    return colours ? fmt::format("\033[{}m{:<3}\033[0m", colour, text) : fmt::format("{:<3}", text);
  };
  for (const Finding& finding : report.findings) {
    fmt::print("{} {:<11} {}\n", mark(finding.state), finding.subject, finding.text);
    if (!finding.remedy.empty()) fmt::print("    {:<11} → {}\n", "", finding.remedy);
  }
  fmt::print(
      "\nWhat fits (users with {} tokens each, {} of them answered at once unless --max-num-seqs says otherwise; "
      "tokens/s for one, from memory bandwidth alone):\n",
      kUserTokens, kDefaultSequences);
  size_t width = 10;
  for (const ModelFit& fit : report.models) width = std::max(width, fit.name.size());
  for (const ModelFit& fit : report.models) {
    const std::string speed =
        fit.tokens_per_second > 0 ? fmt::format("{:.0f} tokens/s", fit.tokens_per_second) : std::string();
    fmt::print("    {:<{}}  {:>8}  {:<28} {:<14} {}\n", fit.name, width, format_bytes(fit.weights), users_text(fit),
               speed, fit.installed ? "installed" : "");
  }
}

Json to_json(const DoctorReport& report) {
  const Machine& machine = report.machine;
  Json json = {{"processor",
                {{"name", machine.processor},
                 {"features", machine.features},
                 {"isa", report.isa},
                 {"processors", machine.processors},
                 {"usable", machine.usable},
                 {"limit", machine.limits.processors ? Json(*machine.limits.processors) : Json(nullptr)}}},
               {"memory",
                {{"bytes", machine.memory},
                 {"available", machine.memory_available},
                 {"swap", machine.swap},
                 {"limit", machine.limits.memory ? Json(*machine.limits.memory) : Json(nullptr)},
                 {"huge_pages", machine.huge_pages},
                 {"bandwidth", report.bandwidth}}},
               {"findings", Json::array()},
               {"models", Json::array()}};
  for (const Finding& finding : report.findings) {
    json["findings"].push_back({{"state", state_name(finding.state)},
                                {"subject", finding.subject},
                                {"text", finding.text},
                                {"remedy", finding.remedy.empty() ? Json(nullptr) : Json(finding.remedy)}});
  }
  for (const ModelFit& fit : report.models) {
    json["models"].push_back({{"name", fit.name},
                              {"installed", fit.installed},
                              {"weights", fit.weights},
                              {"kv_per_user", fit.kv_per_user},
                              {"users", fit.users < 0 ? Json(nullptr) : Json(fit.users)},
                              {"tokens_per_second", fit.tokens_per_second}});
  }
  return json;
}

void doctor(const DoctorFlags& flags) {
  set_up_logging("error");
  HubOptions options = HubOptions::from_environment();
  options.directory = flags.options.download_dir;
  const Hub hub(std::move(options));
  const DoctorReport report = examine(hub, flags.options);
  if (flags.json) {
    print_json(to_json(report));
  } else {
    print_report(report);
  }
  const auto wrong = std::ranges::count(report.findings, Finding::State::kWrong, &Finding::state);
  if (wrong > 0)
    throw_error(ErrorCode::kUnavailable, "{} thing{} wrong; see above", wrong, wrong == 1 ? " is" : "s are");
}

}  // namespace

void add_doctor_command(CLI::App& app) {
  auto flags = std::make_shared<DoctorFlags>();
  CLI::App* command = app.add_subcommand("doctor", "Look at this machine: what it has, what fits, what is wrong");
  command->add_option("--download-dir", flags->options.download_dir, "Folder of the models (default: the cache folder)")
      ->type_name("DIR");
  command->add_option("--data-dir", flags->options.data_dir, "Folder of what the server keeps")->type_name("DIR");
  command->add_flag("--offline", flags->options.offline, "Ask no model hub");
  command->add_flag("--json", flags->json, "Print JSON");
  command->footer(R"(Examples:
  carronade doctor
  carronade doctor --offline --json

It ends with 1 where something must be mended before a model can be served.)");
  command->callback([flags] { doctor(*flags); });
}

}  // namespace carronade
