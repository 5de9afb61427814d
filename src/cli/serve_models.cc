#include "cli/serve_models.h"

#include <algorithm>
#include <ctime>
#include <set>
#include <utility>

#include <CLI/CLI.hpp>

#include "base/duration.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "checkpoint/checkpoint.h"
#include "cli/flag_values.h"
#include "engine/kv_folder.h"
#include "hub/model_folder.h"
#include "hub/progress.h"

namespace carronade {

namespace {

// Of what is free at start; the rest is for the files while they are read, and for others.
constexpr double kShareOfFreeMemory = 0.8;

[[noreturn]] void refuse(const std::string& flag, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, flag + " " + why, flag);
}

uint64_t bytes_of(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) return std::filesystem::file_size(path);
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path, ignored))
    bytes += entry.is_regular_file(ignored) ? entry.file_size(ignored) : 0;
  return bytes;
}

bool is_folder_of_models(const std::string& typed) {
  std::error_code ignored;
  return std::filesystem::is_directory(typed, ignored) && !is_one_model(typed);
}

}  // namespace

// A model on this machine, with what it is loaded with.
struct ModelChoice::Found {
  FoundModel model;
  OpenModelOptions options;
  MemoryClaim claim;
  MemoryShare share;
};

void add_model_flags(CLI::App& command, ModelFlags& flags) {
  command
      .add_option("model", flags.names,
                  "Names of `carronade list`, org/repo[:file or quantization], addresses, or paths; a folder of models "
                  "stands for all that are in it. The first is loaded at start, the others when they are asked for")
      ->type_name("MODEL");
  command.add_option("--model", flags.name_flag, "The same, as a flag")->type_name("MODEL");
  command
      .add_option("--models-dir", flags.folder,
                  "Serve every model in this folder: GGUF files, and folders of safetensors")
      ->type_name("DIR");
  command
      .add_option("--keep-alive", flags.keep_alive,
                  "How long an unused model stays loaded: 5m, 0, or -1 for ever (the default): it goes when another "
                  "needs its memory. A request may say another (keep_alive)")
      ->type_name("TIME");
  command
      .add_option("--served-model-name", flags.served_names, "What clients call the model; several names may be given")
      ->type_name("NAME");
}

ModelChoice::ModelChoice(const ModelFlags& flags, OpenModelOptions common, ChatModelOptions chat)
    : common_(std::move(common)),
      chat_(std::move(chat)),
      served_names_(flags.served_names),
      keep_alive_(parse_keep_alive(flags.keep_alive)) {
  std::vector<std::string> names = flags.names;
  if (!flags.name_flag.empty()) {
    if (!names.empty() && names != std::vector<std::string>{flags.name_flag}) {
      refuse("--model", "names " + flags.name_flag + " besides " + names.front() +
                            "; to serve both, write them one after the other, without --model");
    }
    names = {flags.name_flag};
  }
  for (const std::string& name : names) {
    if (is_folder_of_models(name)) {
      add_folder(name);
    } else {
      models_.push_back({name, {}, false});
    }
  }
  if (!flags.folder.empty()) add_folder(flags.folder);
  if (models_.empty()) models_.emplace_back();
  several_ = models_.size() > 1;
  if (!several_) {
    common_.served_name = served_names_.empty() ? models_.front().name : served_names_.front();
    return;
  }
  const std::string many = fmt::format("belongs to one model, and {} are served", models_.size());
  if (!served_names_.empty()) refuse("--served-model-name", many + ": clients call them by their own names");
  if (!common_.chat_template.empty()) refuse("--chat-template", many + ": each uses its own");
  if (!common_.revision.empty()) refuse("--revision", many + ": write org/repo@revision");
  for (const AdapterSource& adapter : common_.load.adapters) {
    if (adapter.base.empty()) {
      refuse("--lora-modules",
             fmt::format("must say which of the {} models {} is for: {{\"name\": \"{}\", \"path\": …, "
                         "\"base_model_name\": …}}",
                         models_.size(), adapter.name, adapter.name));
    }
  }
}

void ModelChoice::add_folder(const std::filesystem::path& folder) {
  const std::vector<FolderModel> found = models_in(folder);
  if (found.empty()) {
    throw_error(ErrorCode::kNotFound, "there is no model in {}: neither GGUF files nor folders of safetensors",
                folder.string());
  }
  for (const FolderModel& model : found) models_.push_back({model.path.string(), model.name, true});
}

std::vector<ModelChoice::Found> ModelChoice::find_all(const Hub& hub, const std::stop_token& stop,
                                                      ProgressSink& pull_progress) const {
  std::vector<Found> all;
  std::set<std::string> names;
  for (const Model& model : models_) {
    Found found;
    found.options = common_;
    found.options.model = model.typed;
    if (!model.name.empty() && found.options.served_name.empty()) found.options.served_name = model.name;
    if (several_) found.options.load.adapters.clear();
    found.options.load.backend.float_weights = parse_dtype(found.options.dtype);
    try {
      found.model = find_or_fetch(hub, found.options, stop, pull_progress);
      if (model.of_folder && !found.model.local.entry) found.model.local.entry = hub.catalogue().find(model.name);
      if (several_) found.claim = memory_claim(*Checkpoint::open(found.model.local.path), found.options.load);
    } catch (const Error& error) {
      if (!model.of_folder || !several_ || error.code == ErrorCode::kCancelled) throw;
      spdlog::warn("{} is not served: {}", model.name, error.what());
      continue;
    }
    if (!names.insert(found.model.served_name).second)
      throw_error(ErrorCode::kInvalidArgument, "two models are called {}", found.model.served_name);
    all.push_back(std::move(found));
  }
  if (all.empty()) throw Error(ErrorCode::kNotFound, "none of the models can be served", "--models-dir");
  return all;
}

void ModelChoice::share_out(std::vector<Found>& found, PoolLimits& limits) const {
  for (const AdapterSource& adapter : common_.load.adapters) {
    const auto base = std::ranges::find(found, adapter.base, [](const Found& one) { return one.model.served_name; });
    if (base == found.end()) refuse("--lora-modules", "names the model " + adapter.base + ", which is not served");
    base->options.load.adapters.push_back(adapter);
    base->claim.fixed += bytes_of(adapter.path);
  }
  const EngineOptions& engine = common_.load.engine;
  limits.budget = engine.memory_bytes;
  if (limits.budget == 0)
    limits.budget = static_cast<uint64_t>(kShareOfFreeMemory * static_cast<double>(available_memory()));
  std::shared_ptr<KvFolder> kv_disk;
  if (engine.kv_disk_bytes > 0 && engine.prefix_cache)
    kv_disk = std::make_shared<KvFolder>(engine.kv_disk_directory, engine.kv_disk_bytes);
  std::vector<MemoryClaim> claims;
  for (const Found& one : found) claims.push_back(one.claim);
  const bool given = engine.memory_bytes > 0;
  const std::vector<MemoryShare> shares = share_memory(claims, limits.budget, given && engine.kv_bytes == 0);
  for (size_t i = 0; i < found.size(); ++i) {
    found[i].share = shares[i];
    EngineOptions& own = found[i].options.load.engine;
    own.keep_little = !given && engine.kv_bytes == 0;
    if (found[i].claim.max_model_len > 0) own.max_model_len = found[i].claim.max_model_len;
    own.kv_disk_folder = kv_disk;
    if (limits.budget > 0 && shares[i].least > limits.budget) {
      spdlog::warn("{} cannot be loaded: it needs at least {}, and all models together may take {}",
                   found[i].model.served_name, format_bytes(shares[i].least), format_bytes(limits.budget));
    }
  }
}

ServedModels ModelChoice::find(const std::stop_token& stop, ProgressSink& pull_progress,
                               const Progress& progress) const {
  const std::shared_ptr<const Hub> hub = open_hub(common_.download_dir);
  std::vector<Found> found = find_all(*hub, stop, pull_progress);
  PoolLimits limits;
  limits.keep_alive = keep_alive_;
  if (several_) share_out(found, limits);

  ServedModels served;
  std::vector<PoolModel> models;
  const int64_t now = std::time(nullptr);
  for (size_t i = 0; i < found.size(); ++i) {
    const Found& one = found[i];
    const std::string& name = one.model.served_name;
    const std::string root = one.model.local.path.string();
    served.names.push_back(
        {.id = name, .root = root, .created = now, .max_model_len = one.claim.max_model_len, .model = i});
    for (size_t other = 1; !several_ && other < served_names_.size(); ++other) {
      served.names.push_back(served.names.front());
      served.names.back().id = served_names_[other];
    }
    for (size_t a = 0; a < one.options.load.adapters.size(); ++a) {
      const AdapterSource& adapter = one.options.load.adapters[a];
      served.names.push_back({.id = adapter.name,
                              .root = adapter.path.string(),
                              .created = now,
                              .max_model_len = one.claim.max_model_len,
                              .parent = name,
                              .adapter = static_cast<int>(a),
                              .model = i});
    }
    models.push_back(
        {name, one.share, [hub, one, chat = chat_, progress, i](uint64_t memory, const std::stop_token& stop_loading) {
           OpenModelOptions options = one.options;
           if (memory > 0) options.load.engine.memory_bytes = memory;
           const auto loaded = load_found(one.model, options, stop_loading, [&](uint64_t done, uint64_t total) {
             if (progress) progress(i, done, total);
           });
           if (!loaded->chat_template) {
             spdlog::warn("{} has no chat template, so it cannot chat; give one with --chat-template", loaded->name);
           }
           return std::make_unique<PooledChatModel>(make_chat_model(loaded, chat));
         }});
  }
  served.pool = std::make_shared<ModelPool>(std::move(models), limits);
  return served;
}

}  // namespace carronade
