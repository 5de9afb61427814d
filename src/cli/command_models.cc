// carronade pull | list | rm
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/model_json.h"
#include "cli/progress_bar.h"
#include "hub/hub.h"
#include "hub/names.h"

namespace carronade {
namespace {

struct ModelFlags {
  std::vector<std::string> models;
  std::string download_directory;
  std::string sha256;
  bool use_default = false;
  bool json = false;
  bool quiet = false;

  const std::string& model() const { return models.front(); }
};

Hub open_hub(const ModelFlags& flags) {
  HubOptions options = HubOptions::from_environment();
  options.directory = flags.download_directory;
  return Hub(std::move(options));
}

void pull(const ModelFlags& flags) {
  if (flags.models.empty() != flags.use_default) {
    throw Error(ErrorCode::kInvalidArgument, "name one model, or give --default; `carronade list` shows the names",
                "model");
  }
  const std::string sha256 = lower_case(flags.sha256);
  if (!sha256.empty() && !is_sha256(sha256))
    throw Error(ErrorCode::kInvalidArgument, "--sha256 takes 64 hexadecimal digits", "--sha256");
  const Hub hub = open_hub(flags);
  const InterruptScope interrupt;
  PullOptions options;
  options.stop = interrupt.token();
  options.sha256 = sha256;
  LocalModel model;
  {
    ProgressBar progress(flags.quiet);
    model = flags.use_default ? hub.find_or_pull_default(options, progress)
                              : hub.pull(hub.parse(flags.model()), options, progress);
  }
  if (flags.json) {
    print_json(model.installed ? to_json(*model.installed) : Json{{"name", model.name}, {"path", model.path.string()}});
  } else {
    fmt::print("{}\n", model.path.string());
  }
}

std::string cut(const std::string& text, size_t width) {
  return text.size() <= width ? text : text.substr(0, width - 1) + "…";
}

void list(const ModelFlags& flags) {
  const Hub hub = open_hub(flags);
  const std::vector<InstalledModel> installed = hub.list();
  const auto is_installed = [&](const std::string& name) {
    return std::ranges::find(installed, name, &InstalledModel::name) != installed.end();
  };
  if (flags.json) {
    Json json = {{"installed", Json::array()}, {"available", Json::array()}};
    for (const InstalledModel& model : installed) json["installed"].push_back(to_json(model));
    for (const CatalogueEntry& entry : hub.catalogue().entries()) {
      if (!is_installed(entry.name)) json["available"].push_back(to_json(entry));
    }
    print_json(json);
    return;
  }
  size_t width = 20;
  for (const InstalledModel& model : installed) width = std::max(width, std::min<size_t>(model.name.size(), 60));
  for (const CatalogueEntry& entry : hub.catalogue().entries()) width = std::max(width, entry.name.size());
  fmt::print("{:<{}}  {:>8}  {:<10}  {}\n", "NAME", width, "SIZE", "INSTALLED", "FROM");
  for (const InstalledModel& model : installed) {
    fmt::print("{:<{}}  {:>8}  {:<10}  {}\n", cut(model.name, 60), width, format_bytes(model.bytes()),
               model.date.substr(0, 10), model.source);
  }
  for (const CatalogueEntry& entry : hub.catalogue().entries()) {
    if (is_installed(entry.name)) continue;
    fmt::print("{:<{}}  {:>8}  {:<10}  {}\n", entry.name, width, format_bytes(entry.approximate_bytes), "-",
               entry.description);
  }
}

void remove_models(const ModelFlags& flags) {
  const Hub hub = open_hub(flags);
  for (const std::string& model : flags.models) {
    hub.remove(hub.parse(model));
    if (!flags.quiet) fmt::print("removed {}\n", model);
  }
}

using Run = void (*)(const ModelFlags&);

CLI::App* add_command(CLI::App& app, const char* name, const char* help, const std::shared_ptr<ModelFlags>& flags,
                      Run run) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_option("--download-dir", flags->download_directory, "Folder of the models (default: the cache folder)")
      ->type_name("DIR");
  command->callback([flags, run] { run(*flags); });
  return command;
}

}  // namespace

void add_model_commands(CLI::App& app) {
  auto flags = std::make_shared<ModelFlags>();
  CLI::App* command = add_command(app, "pull", "Fetch a model", flags, pull);
  command->add_option("model", flags->models, kModelHelp)->expected(0, 1)->type_name("MODEL");
  command->add_flag("--default", flags->use_default,
                    "The default model, or its fallback where no model hub can be reached");
  command->add_option("--sha256", flags->sha256, "What the file's SHA-256 must be")->type_name("HEX");
  command->add_flag("--json", flags->json, "Print what was fetched as JSON");
  command->add_flag("-q,--quiet", flags->quiet, "No progress");
  command->footer(R"(Examples:
  carronade pull smollm2-135m                              a name of `carronade list`
  carronade pull Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q8_0      a repository of the hub, and which of its files
  carronade pull https://example.org/model.gguf --sha256 HEX

A pull that was broken off goes on where it stopped.)");

  flags = std::make_shared<ModelFlags>();
  command = add_command(app, "list", "List the models that are installed and those known by name", flags, list);
  command->alias("ls");
  command->add_flag("--json", flags->json, "Print JSON");
  command->footer(R"(Examples:
  carronade list
  carronade list --json | jq -r '.installed[].name')");

  flags = std::make_shared<ModelFlags>();
  command = add_command(app, "rm", "Remove models that were fetched", flags, remove_models);
  command->add_option("model", flags->models, kModelHelp)->required()->type_name("MODEL");
  command->add_flag("-q,--quiet", flags->quiet, "Say nothing");
  command->footer(R"(Example:
  carronade rm smollm2-135m)");
}

}  // namespace carronade
