#include "hub/hub.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "hub/names.h"
#include "hub/pull_job.h"

namespace carronade {
namespace {

constexpr std::string_view kHuggingFace = "https://huggingface.co";
constexpr std::string_view kMirror = "https://hf-mirror.com";
constexpr std::string_view kModelScope = "https://modelscope.cn";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// "host" or "https://host/" → "https://host".
std::string as_endpoint(std::string text) {
  while (text.ends_with('/')) text.pop_back();
  if (!text.empty() && text.find("://") == std::string::npos) text = "https://" + text;
  return text;
}

bool is_true(const std::string& text) {
  const std::string value = lower_case(text);
  return value == "1" || value == "true" || value == "yes" || value == "on";
}

// A token with a line break would become another header.
std::string checked_token(const char* name) {
  std::string token = variable(name);
  if (std::ranges::any_of(token, [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; })) {
    throw_error(ErrorCode::kInvalidArgument, "{} holds spaces or control characters", name);
  }
  return token;
}

int number_from(const char* name, int most, int otherwise) {
  const std::string text = variable(name);
  if (text.empty()) return otherwise;
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > most) {
    throw_error(ErrorCode::kInvalidArgument, "{} is '{}'; expected a number from 1 to {}", name, text, most);
  }
  return value;
}

bool has_packages(const CatalogueEntry& entry) {
  return std::ranges::any_of(entry.sources, [](const ModelSource& source) { return source.hub == HubKind::kPackages; });
}

}  // namespace

HubOptions HubOptions::from_environment() {
  HubOptions options;
  options.hf_endpoint = as_endpoint(variable("HF_ENDPOINT"));
  options.hf_token = checked_token("HF_TOKEN");
  options.modelscope_endpoint = as_endpoint(variable("MODELSCOPE_DOMAIN"));
  options.modelscope_token = checked_token("MODELSCOPE_API_TOKEN");
  options.offline = is_true(variable("HF_HUB_OFFLINE"));
  if (const std::string python = variable("CARRONADE_PYTHON"); !python.empty()) options.python = python;
  options.stall_timeout = std::chrono::seconds(
      number_from("HF_HUB_DOWNLOAD_TIMEOUT", 3600, static_cast<int>(options.stall_timeout.count())));
  options.attempts = number_from("CARRONADE_PULL_ATTEMPTS", 1000, options.attempts);
  return options;
}

Hub::Hub(HubOptions options, Catalogue catalogue)
    : options_(std::move(options)),
      catalogue_(std::move(catalogue)),
      storage_(options_.directory.empty() ? cache_dir() / "models" : options_.directory) {}

ModelReference Hub::parse(std::string_view text) const {
  try {
    return parse_reference(text, catalogue_);
  } catch (const Error& error) {
    // What came from an address is listed under a name of its own.
    if (error.code != ErrorCode::kNotFound || !storage_.find(std::string(text))) throw;
    ModelReference reference;
    reference.kind = ModelReference::Kind::kUrl;
    reference.name = text;
    return reference;
  }
}

LocalModel Hub::local_model(const InstalledModel& installed, const CatalogueEntry* entry) const {
  LocalModel local;
  local.name = installed.name;
  local.path = installed.path();
  local.entry = entry;
  local.installed = installed;
  return local;
}

std::optional<LocalModel> Hub::find_local(const ModelReference& reference) const {
  if (reference.kind == ModelReference::Kind::kPath) {
    LocalModel local;
    local.name = reference.name;
    local.path = reference.path;
    return local;
  }
  if (const auto installed = storage_.find(reference.name)) return local_model(*installed, reference.entry);
  if (reference.kind != ModelReference::Kind::kHub || reference.selector.empty() || !reference.revision.empty())
    return std::nullopt;
  // The same file may have come under another name: by the catalogue's, or without naming the quantization.
  for (const InstalledModel& installed : storage_.list()) {
    const bool modelscope = installed.source.find("modelscope") != std::string::npos;
    if (installed.repository != reference.repository || modelscope != (reference.hub == HubKind::kModelScope)) continue;
    std::vector<RemoteFile> files(installed.files.size());
    for (size_t i = 0; i < files.size(); ++i) files[i].path = installed.files[i].path;
    try {
      if (choose_files(files, reference.selector, reference.repository).front().path == installed.main) {
        return local_model(installed, catalogue_.find(installed.name));
      }
    } catch (const Error&) {
      continue;  // another file of that repository
    }
  }
  return std::nullopt;
}

Repository Hub::repository_at(const ModelSource& source) const {
  Repository repository;
  repository.hub = source.hub;
  repository.name = source.repository;
  repository.endpoint = as_endpoint(source.endpoint);
  if (!repository.endpoint.empty()) return repository;  // a mirror: no token
  if (source.hub == HubKind::kModelScope) {
    repository.endpoint = options_.modelscope_endpoint.empty() ? kModelScope : options_.modelscope_endpoint;
    repository.token = options_.modelscope_token;
  } else {
    repository.endpoint = options_.hf_endpoint.empty() ? kHuggingFace : options_.hf_endpoint;
    repository.token = options_.hf_token;
  }
  return repository;
}

std::vector<Repository> Hub::repositories_of(const ModelReference& reference) const {
  ModelSource source;
  source.hub = reference.hub;
  source.repository = reference.repository;
  std::vector<Repository> repositories = {repository_at(source)};
  if (reference.hub == HubKind::kHuggingFace && options_.hf_endpoint.empty()) {
    source.endpoint = kMirror;
    repositories.push_back(repository_at(source));
  }
  for (Repository& repository : repositories) repository.revision = reference.revision;
  return repositories;
}

std::vector<std::string> Hub::endpoints() const {
  ModelReference reference;
  std::vector<std::string> endpoints;
  for (const HubKind kind : {HubKind::kHuggingFace, HubKind::kModelScope}) {
    reference.hub = kind;
    for (const Repository& repository : repositories_of(reference)) endpoints.push_back(repository.endpoint);
  }
  return endpoints;
}

LocalModel Hub::pull(const ModelReference& reference, const PullOptions& options, ProgressSink& sink) const {
  if (auto local = find_local(reference)) return *local;
  const bool other_way = reference.entry && has_packages(*reference.entry);
  try {
    return PullJob(*this, reference, options, sink, other_way ? Haste::kQuick : Haste::kPatient).run();
  } catch (const Error& error) {
    const CatalogueEntry* quantized = reference.quantized;
    if (!quantized || error.code != ErrorCode::kUnavailable) throw;
    const bool is_here = storage_.find(quantized->name).has_value();
    throw Error(
        error.code,
        fmt::format("{}\n  {} is the same model in {}{}", error.what(), quantized->name, quantized->quantization,
                    is_here ? ", and is installed"
                            : fmt::format("; `carronade pull {}` fetches it ({})", quantized->name,
                                          format_bytes(quantized->approximate_bytes))),
        error.param);
  }
}

std::optional<LocalModel> Hub::find_default() const {
  const CatalogueEntry& entry = catalogue_.default_entry();
  if (const auto installed = storage_.find(entry.name)) return local_model(*installed, &entry);
  const CatalogueEntry* fallback = entry.fallback.empty() ? nullptr : catalogue_.find(entry.fallback);
  if (!fallback) return std::nullopt;
  const auto installed = storage_.find(fallback->name);
  return installed ? std::optional(local_model(*installed, fallback)) : std::nullopt;
}

LocalModel Hub::find_or_pull_default(const PullOptions& options, ProgressSink& sink) const {
  const CatalogueEntry& entry = catalogue_.default_entry();
  if (auto local = find_default()) {
    if (local->name != entry.name) {
      sink.message(fmt::format("using {}, which is installed; `carronade pull {}` fetches the default model",
                               local->name, entry.name));
    }
    return *local;
  }
  const ModelReference reference = parse_reference(entry.name, catalogue_);
  if (entry.fallback.empty()) return pull(reference, options, sink);
  PullJob job(*this, reference, options, sink, Haste::kQuick);
  try {
    return job.run();
  } catch (const Error& error) {
    // Once bytes have come the hub is there, and the same command continues; another gigabyte from elsewhere would be
    // no help.
    const bool own =
        error.code == ErrorCode::kIo || error.code == ErrorCode::kCancelled || error.code == ErrorCode::kInternal;
    if (own || job.received()) throw;
    sink.message(error.what());
    sink.message(fmt::format("the default model cannot be fetched now, so this uses {} instead", entry.fallback));
  }
  const ModelReference fallback = parse_reference(entry.fallback, catalogue_);
  const bool packages = has_packages(*fallback.entry);
  return PullJob(*this, fallback, options, sink, packages ? Haste::kPackagesOnly : Haste::kQuick).run();
}

void Hub::remove(const ModelReference& reference) const {
  if (reference.kind == ModelReference::Kind::kPath) {
    throw_error(ErrorCode::kInvalidArgument, "{} was not fetched by this program; remove the file itself",
                reference.path.string());
  }
  const auto local = find_local(reference);
  const std::string name = local ? local->name : reference.name;
  if (!local && !std::filesystem::exists(storage_.directory(name))) {
    throw_error(ErrorCode::kNotFound, "{} is not installed; `carronade list` shows what is", name);
  }
  FileLock lock = storage_.lock(name);
  lock.lock();
  storage_.remove(name);
}

}  // namespace carronade
