// A model's name → verified files on this machine.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "hub/catalogue.h"
#include "hub/fetch.h"
#include "hub/progress.h"
#include "hub/reference.h"
#include "hub/repository.h"
#include "hub/storage.h"

namespace carronade {

// Where models come from and go to. from_environment() reads, in the hubs' own words:
//   HF_ENDPOINT HF_TOKEN HF_HUB_OFFLINE HF_HUB_DOWNLOAD_TIMEOUT MODELSCOPE_DOMAIN MODELSCOPE_API_TOKEN, and
//   CARRONADE_PYTHON (for pip), CARRONADE_CATALOGUE (a catalogue file instead of the built-in one), CARRONADE_CACHE
//   (the folder), CARRONADE_PULL_ATTEMPTS.
struct HubOptions {
  std::filesystem::path directory;  // of the models; empty: cache_dir()/models
  std::string hf_endpoint;          // empty: the public hub, and its mirror after it
  std::string hf_token;             // sent to the endpoint only, never to a mirror that was not asked for by name
  std::string modelscope_endpoint;  // empty: the public one
  std::string modelscope_token;
  bool offline = false;
  std::string python = "python3";
  std::chrono::seconds stall_timeout{30};
  int attempts = FetchContext{}.attempts;
  std::chrono::milliseconds probe_timeout{4'000};  // how long "can it be reached?" may take where there is another way

  static HubOptions from_environment();
};

// Files on this machine that make a model.
struct LocalModel {
  std::string name;                         // what to call it: the catalogue's name, org/repo, the file's name
  std::filesystem::path path;               // a GGUF file (the first of a split one), or a folder of safetensors
  const CatalogueEntry* entry = nullptr;    // its chat defaults, where the catalogue knows it; lives as long as the Hub
  std::optional<InstalledModel> installed;  // absent for a path of the user's own
};

struct PullOptions {
  std::string sha256;    // expected of a single file from an address; empty: whatever the source says
  std::stop_token stop;  // ends the pull with Error{kCancelled}; what has arrived is kept
};

// Stateless but for its options: any thread may call, several at once; processes exclude each other by lock files.
class Hub {
 public:
  explicit Hub(HubOptions options = HubOptions::from_environment(),
               Catalogue catalogue = Catalogue::from_environment());
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  const Catalogue& catalogue() const { return catalogue_; }
  const Storage& storage() const { return storage_; }
  // As parse_reference(), and also the names that list() shows.
  ModelReference parse(std::string_view text) const;

  // Without any network: nullopt when it is not installed. A path is always local.
  std::optional<LocalModel> find_local(const ModelReference& reference) const;

  // Fetches unless it is there. Throws Error: kNotFound, kUnauthorized, kForbidden, kRateLimited, kUnavailable (nothing
  // could be reached), kIo (disk), kCorruptFile, kCancelled; with several sources the message has a line for each.
  LocalModel pull(const ModelReference& reference, const PullOptions& options, ProgressSink& sink) const;

  // The default model, or its fallback where no hub can be reached: what is installed of the two is used at once,
  // without network.
  LocalModel find_or_pull_default(const PullOptions& options, ProgressSink& sink) const;
  // The same, but only from this machine.
  std::optional<LocalModel> find_default() const;

  // Where models are asked for: the hubs' addresses, the first choice first.
  std::vector<std::string> endpoints() const;
  bool offline() const { return options_.offline; }

  std::vector<InstalledModel> list() const { return storage_.list(); }

  // Waits for a pull of it in progress. Throws Error{kNotFound} when it is not here, {kInvalidArgument} for a path of
  // the user's own.
  void remove(const ModelReference& reference) const;

 private:
  friend class PullJob;
  std::vector<Repository> repositories_of(const ModelReference& reference) const;
  Repository repository_at(const ModelSource& source) const;
  LocalModel local_model(const InstalledModel& installed, const CatalogueEntry* entry) const;

  HubOptions options_;
  Catalogue catalogue_;
  Storage storage_;
};

}  // namespace carronade
