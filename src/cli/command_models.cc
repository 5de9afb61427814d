// carronade pull | list | show | rm
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/checkpoint_summary.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/progress_bar.h"
#include "hub/hub.h"
#include "hub/names.h"

namespace carronade {
namespace {

using Json = nlohmann::ordered_json;

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

void print_json(const Json& json) { fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace)); }

Json to_json(const InstalledModel& model) {
  Json files = Json::array();
  for (const InstalledFile& file : model.files)
    files.push_back({{"path", file.path}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  return {{"name", model.name},
          {"path", model.path().string()},
          {"bytes", model.bytes()},
          {"source", model.source},
          {"repository", model.repository},
          {"revision", model.revision},
          {"date", model.date},
          {"files", files}};
}

Json to_json(const CatalogueEntry& entry) {
  Json json = {{"name", entry.name},
               {"description", entry.description},
               {"licence", entry.licence},
               {"parameters", entry.parameters},
               {"context_length", entry.context_length},
               {"quantization", entry.quantization},
               {"thinks", entry.thinks},
               {"bytes", entry.approximate_bytes},
               {"chat", entry.chat},
               {"aliases", entry.aliases}};
  if (!entry.sha256.empty()) json["sha256"] = entry.sha256;
  return json;
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

void print_field(const char* name, const std::string& value) {
  if (!value.empty()) fmt::print("{:<16}{}\n", name, value);
}

void print_entry(const CatalogueEntry& entry) {
  print_field("Description", entry.description);
  print_field("Licence", entry.licence);
  print_field("Parameters", fmt::format("{:.2f} B", static_cast<double>(entry.parameters) / 1e9));
  print_field("Context", fmt::format("{} tokens", entry.context_length));
  print_field("Quantization", entry.quantization);
  print_field("Thinks", entry.thinks ? "yes" : "no");
  std::string chat;
  for (const auto& [key, value] : entry.chat) chat += fmt::format("{}{} {:g}", chat.empty() ? "" : ", ", key, value);
  print_field("Chat defaults", chat);
}

void print_installed(const InstalledModel& model) {
  print_field("From", model.repository.empty() ? model.source : model.source + " " + model.repository);
  print_field("Revision", model.revision);
  print_field("Fetched", model.date);
  for (const InstalledFile& file : model.files) {
    print_field("File", fmt::format("{} ({})", file.path, format_bytes(file.bytes)));
    print_field("SHA-256", file.sha256);
  }
}

std::string types_text(const CheckpointSummary& summary) {
  std::string text;
  for (const auto& [type, count] : summary.types)
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", count, type);
  return text;
}

Json to_json(const CheckpointSummary& summary) {
  Json json = {{"format", summary.format},
               {"architecture", summary.architecture},
               {"parameters", summary.parameters},
               {"types", summary.types},
               {"has_chat_template", summary.has_chat_template}};
  if (summary.context_length) json["context_length"] = *summary.context_length;
  if (summary.layers) json["layers"] = *summary.layers;
  return json;
}

void print_summary(const CheckpointSummary& summary) {
  print_field("Format", summary.format);
  print_field("Architecture", summary.architecture);
  if (summary.layers) print_field("Layers", fmt::to_string(*summary.layers));
  if (summary.context_length) print_field("Trained context", fmt::format("{} tokens", *summary.context_length));
  print_field("Weights", fmt::format("{:.2f} B", static_cast<double>(summary.parameters) / 1e9));
  print_field("Tensors", types_text(summary));
  print_field("Chat template", summary.has_chat_template ? "yes" : "no");
}

void show(const ModelFlags& flags) {
  const Hub hub = open_hub(flags);
  const ModelReference reference = hub.parse(flags.model());
  const auto local = hub.find_local(reference);
  const CatalogueEntry* entry = reference.entry ? reference.entry : local ? local->entry : nullptr;
  if (!local && !entry) {
    throw_error(ErrorCode::kNotFound, "{} is not installed; `carronade pull {}` fetches it", reference.name,
                reference.name);
  }
  if (flags.json) {
    Json json = {{"name", local ? local->name : entry->name}};
    if (entry) json["catalogue"] = to_json(*entry);
    if (local && local->installed) json["installed"] = to_json(*local->installed);
    if (local) json["checkpoint"] = to_json(summarize_checkpoint(local->path));
    print_json(json);
    return;
  }
  print_field("Name", local ? local->name : entry->name);
  if (entry) print_entry(*entry);
  if (!local) {
    print_field("Size", fmt::format("about {}", format_bytes(entry->approximate_bytes)));
    print_field("Installed", fmt::format("no; `carronade pull {}` fetches it", entry->name));
    return;
  }
  print_field("Path", local->path.string());
  if (local->installed) print_installed(*local->installed);
  print_summary(summarize_checkpoint(local->path));
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
  constexpr const char* kModelHelp =
      "A name of `carronade list`, org/repo[:file or quantization], an address, or a path";
  auto flags = std::make_shared<ModelFlags>();
  CLI::App* command = add_command(app, "pull", "Fetch a model", flags, pull);
  command->add_option("model", flags->models, kModelHelp)->expected(0, 1)->type_name("MODEL");
  command->add_flag("--default", flags->use_default,
                    "The default model, or its fallback where no model hub can be reached");
  command->add_option("--sha256", flags->sha256, "What the file's SHA-256 must be")->type_name("HEX");
  command->add_flag("--json", flags->json, "Print what was fetched as JSON");
  command->add_flag("-q,--quiet", flags->quiet, "No progress");

  flags = std::make_shared<ModelFlags>();
  command = add_command(app, "list", "List the models that are installed and those known by name", flags, list);
  command->alias("ls");
  command->add_flag("--json", flags->json, "Print JSON");

  flags = std::make_shared<ModelFlags>();
  command = add_command(app, "show", "Show what is known about a model", flags, show);
  command->add_option("model", flags->models, kModelHelp)->required()->expected(1)->type_name("MODEL");
  command->add_flag("--json", flags->json, "Print JSON");

  flags = std::make_shared<ModelFlags>();
  command = add_command(app, "rm", "Remove models that were fetched", flags, remove_models);
  command->add_option("model", flags->models, kModelHelp)->required()->type_name("MODEL");
  command->add_flag("-q,--quiet", flags->quiet, "Say nothing");
}

}  // namespace carronade
