// carronade show
#include <algorithm>
#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "cli/answer_printer.h"
#include "cli/checkpoint_summary.h"
#include "cli/commands.h"
#include "cli/model_json.h"
#include "hub/hub.h"

namespace carronade {
namespace {

struct ShowFlags {
  std::string model, download_dir;
  bool json = false, chat_template = false, metadata = false;
};

void field(const char* name, const std::string& value) {
  if (!value.empty()) fmt::print("{:<16}{}\n", name, harmless(value));
}

// Conversations at which a model's memory is told; those it was not trained for are left out.
std::vector<int64_t> told_lengths(const CheckpointSummary& summary) {
  std::vector<int64_t> lengths;
  for (const int64_t tokens : {2048, 4096, 8192, 32768, 131072}) {
    if (tokens <= summary.context_length.value_or(4096)) lengths.push_back(tokens);
  }
  return lengths;
}

uint64_t memory_at(const CheckpointSummary& summary, int64_t tokens) {
  return summary.memory.weights + summary.memory.of_conversations(1, static_cast<uint64_t>(tokens));
}

Json to_json(const MetadataValue& value) {
  return std::visit([](const auto& held) { return Json(held); }, value);
}

std::string to_text(const MetadataValue& value) {
  constexpr size_t kShown = 120;
  const std::string text = to_json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= kShown ? text : text.substr(0, kShown) + fmt::format("… ({} bytes)", text.size());
}

Json to_json(const CheckpointSummary& summary) {
  Json json = {{"format", summary.format},
               {"name", summary.name},
               {"licence", summary.licence},
               {"architecture", summary.architecture},
               {"supported", summary.supported},
               {"parameters", summary.parameters},
               {"file_bytes", summary.file_bytes},
               {"tokenizer", summary.tokenizer},
               {"has_chat_template", summary.chat_template.has_value()}};
  const auto put = [&](const char* name, const std::optional<int64_t>& value) {
    if (value) json[name] = *value;
  };
  put("context_length", summary.context_length);
  put("layers", summary.layers);
  put("hidden", summary.hidden);
  put("heads", summary.heads);
  put("kv_heads", summary.kv_heads);
  put("vocabulary", summary.vocabulary);
  json["types"] = Json::array();
  for (const auto& type : summary.types) {
    json["types"].push_back(
        {{"type", type.name}, {"tensors", type.tensors}, {"parameters", type.numbers}, {"bytes", type.bytes}});
  }
  json["memory"] = {{"weights", summary.memory.weights},
                    {"per_step", summary.memory.per_step},
                    {"kv_per_token", summary.memory.kv_per_token}};
  if (summary.memory.kv_per_token > 0) {
    for (const int64_t tokens : told_lengths(summary))
      json["memory"]["at_tokens"][std::to_string(tokens)] = memory_at(summary, tokens);
  }
  return json;
}

Json metadata_json(const Checkpoint& checkpoint) {
  Json json = Json::object();
  for (const auto& [key, value] : checkpoint.metadata()) json[key] = to_json(value);
  return json;
}

void print_entry(const CatalogueEntry& entry) {
  field("Description", entry.description);
  field("Licence", entry.licence);
  field("Original", entry.original);
  field("Parameters", fmt::format("{:.2f} B", static_cast<double>(entry.parameters) / 1e9));
  field("Context", fmt::format("{} tokens", entry.context_length));
  field("Quantization", entry.quantization);
  field("Thinks", entry.thinks ? "yes" : "no");
  std::string chat;
  for (const auto& [key, value] : entry.chat) chat += fmt::format("{}{} {:g}", chat.empty() ? "" : ", ", key, value);
  field("Chat defaults", chat);
}

void print_installed(const InstalledModel& model) {
  field("From", model.repository.empty() ? model.source : model.source + " " + model.repository);
  field("Revision", model.revision);
  field("Fetched", model.date);
  for (const InstalledFile& file : model.files) {
    field("File", fmt::format("{} ({})", file.path, format_bytes(file.bytes)));
    field("SHA-256", file.sha256);
  }
}

void print_memory(const CheckpointSummary& summary) {
  field("Memory", fmt::format("{} of weights", format_bytes(summary.memory.weights)));
  if (summary.memory.kv_per_token == 0) return;
  for (const int64_t tokens : told_lengths(summary)) {
    fmt::print("{:<16}{} with a conversation of {} tokens\n", "", format_bytes(memory_at(summary, tokens)), tokens);
  }
}

void print_summary(const CheckpointSummary& summary, bool has_entry) {
  field("Format", summary.format);
  field("Own name", summary.name);
  if (!has_entry) field("Licence", summary.licence.empty() ? "not said in the files" : summary.licence);
  field("Architecture", summary.architecture + (summary.supported ? "" : " (not supported by this version)"));
  std::string shape;
  const auto add = [&](const char* what, const std::optional<int64_t>& value) {
    if (value) shape += fmt::format("{}{} {}", shape.empty() ? "" : ", ", *value, what);
  };
  add("layers", summary.layers);
  add("wide", summary.hidden);
  add("heads", summary.heads);
  add("KV heads", summary.kv_heads);
  add("tokens of vocabulary", summary.vocabulary);
  field("Shape", shape);
  if (summary.context_length) field("Trained context", fmt::format("{} tokens", *summary.context_length));
  field("Tokenizer", summary.tokenizer);
  field("Weights", fmt::format("{:.2f} B", static_cast<double>(summary.parameters) / 1e9));
  for (const auto& type : summary.types) {
    fmt::print("{:<16}{:<8}{:>5} tensors {:>10} {:>9}\n", "", type.name, type.tensors,
               fmt::format("{:.1f} M", static_cast<double>(type.numbers) / 1e6), format_bytes(type.bytes));
  }
  print_memory(summary);
  field("Chat template",
        summary.chat_template ? fmt::format("{} bytes; --template shows it", summary.chat_template->size()) : "none");
}

void print_json_of(const ModelReference& reference, const std::optional<LocalModel>& local, const CatalogueEntry* entry,
                   bool metadata) {
  Json json = {{"name", local ? local->name : reference.name}};
  if (local) json["path"] = local->path.string();
  if (entry) json["catalogue"] = to_json(*entry);
  if (local && local->installed) json["installed"] = to_json(*local->installed);
  if (local) json["checkpoint"] = to_json(summarize_checkpoint(local->path));
  if (local && metadata) json["metadata"] = metadata_json(*Checkpoint::open(local->path));
  print_json(json);
}

// What is asked of the file alone: its template, its metadata.
void print_part(const LocalModel& local, const ShowFlags& flags) {
  const auto checkpoint = Checkpoint::open(local.path);
  if (flags.chat_template) {
    const auto text = checkpoint->chat_template();
    if (!text) throw_error(ErrorCode::kNotFound, "{} has no chat template", local.name);
    fmt::print("{}{}", *text, text->ends_with('\n') ? "" : "\n");
    return;
  }
  for (const auto& [key, value] : checkpoint->metadata()) fmt::print("{:<48} {}\n", key, harmless(to_text(value)));
}

void show(const ShowFlags& flags) {
  HubOptions options = HubOptions::from_environment();
  options.directory = flags.download_dir;
  const Hub hub(std::move(options));
  const ModelReference reference = hub.parse(flags.model);
  const auto local = hub.find_local(reference);
  const CatalogueEntry* entry = reference.entry ? reference.entry : local ? local->entry : nullptr;
  if (!local && (!entry || flags.chat_template || flags.metadata)) {
    const std::string same =
        reference.quantized
            ? fmt::format("; {} is the same model in {}", reference.quantized->name, reference.quantized->quantization)
            : "";
    throw_error(ErrorCode::kNotFound, "{} is not installed; `carronade pull {}` fetches it{}", reference.name,
                reference.name, same);
  }
  if (flags.json) return print_json_of(reference, local, entry, flags.metadata);
  if (flags.chat_template || flags.metadata) return print_part(*local, flags);
  field("Name", local ? local->name : entry->name);
  if (entry) print_entry(*entry);
  if (!local) {
    field("Size", fmt::format("about {}", format_bytes(entry->approximate_bytes)));
    field("Installed", fmt::format("no; `carronade pull {}` fetches it", entry->name));
    return;
  }
  field("Path", local->path.string());
  if (local->installed) print_installed(*local->installed);
  print_summary(summarize_checkpoint(local->path), entry != nullptr);
}

}  // namespace

void add_show_command(CLI::App& app) {
  auto flags = std::make_shared<ShowFlags>();
  CLI::App* command = app.add_subcommand("show", "Show what is known about a model");
  command->add_option("model", flags->model, kModelHelp)->required()->type_name("MODEL");
  command->add_option("--download-dir", flags->download_dir, "Folder of the models (default: the cache folder)")
      ->type_name("DIR");
  command->add_flag("--template", flags->chat_template, "Print its chat template and nothing else");
  command->add_flag("--metadata", flags->metadata, "Print what its files say, key by key");
  command->add_flag("--json", flags->json, "Print JSON");
  command->footer(R"(Examples:
  carronade show qwen2.5-coder-1.5b
  carronade show ./model.gguf --metadata
  carronade show smollm2-135m --template >template.jinja)");
  command->callback([flags] { show(*flags); });
}

}  // namespace carronade
