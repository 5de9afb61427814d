#include "cli/open_model.h"

#include <utility>

#include "base/error.h"
#include "base/file.h"

namespace carronade {

namespace {

template <typename T>
void fill_in(std::optional<T>& value, const CatalogueEntry& entry, const char* key) {
  const auto found = entry.chat.find(key);
  if (!value && found != entry.chat.end()) value = static_cast<T>(found->second);
}

void fill_in_defaults(GenerationDefaults& defaults, const CatalogueEntry& entry) {
  fill_in(defaults.temperature, entry, "temperature");
  fill_in(defaults.top_p, entry, "top_p");
  fill_in(defaults.top_k, entry, "top_k");
  fill_in(defaults.min_p, entry, "min_p");
  fill_in(defaults.repetition_penalty, entry, "repetition_penalty");
}

// vLLM takes either at the same flag: what holds a Jinja tag is the template itself.
std::string template_source(const std::string& text) {
  return text.find("{%") != std::string::npos || text.find("{{") != std::string::npos ? text : read_file(text);
}

}  // namespace

std::optional<DType> parse_dtype(const std::string& name) {
  if (name == "auto") return std::nullopt;
  if (name == "float16" || name == "half") return DType::kF16;
  if (name == "bfloat16") return DType::kBF16;
  if (name == "float32" || name == "float") return DType::kF32;
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("--dtype must be auto, float16 (half), bfloat16 or float32 (float), not {}", name),
              "--dtype");
}

LocalModel find_installed(const Hub& hub, const std::string& text) {
  if (std::optional<LocalModel> local = hub.find_local(hub.parse(text))) return *std::move(local);
  throw Error(ErrorCode::kNotFound,
              fmt::format("{} is not on this machine: `carronade pull {}` fetches it", text, text), "model");
}

std::shared_ptr<const Hub> open_hub(const std::string& download_dir) {
  HubOptions options = HubOptions::from_environment();
  options.directory = download_dir;
  return std::make_shared<const Hub>(std::move(options));
}

FoundModel find_or_fetch(const Hub& hub, const OpenModelOptions& options, const std::stop_token& stop,
                         ProgressSink& pull_progress) {
  PullOptions pull;
  pull.stop = stop;
  std::optional<ModelReference> reference;
  if (!options.model.empty()) reference = with_revision(hub.parse(options.model), options.revision);
  FoundModel found;
  found.local = reference ? hub.pull(*reference, pull, pull_progress) : hub.find_or_pull_default(pull, pull_progress);
  found.served_name = options.served_name;
  if (found.served_name.empty()) {
    // The model's name is what clients must say: what the operator typed, but for paths and addresses.
    const bool typed_a_name = reference && (reference->kind == ModelReference::Kind::kCatalogue ||
                                            reference->kind == ModelReference::Kind::kHub);
    found.served_name = typed_a_name ? options.model : found.local.name;
  }
  return found;
}

std::shared_ptr<LoadedModel> load_found(const FoundModel& found, const OpenModelOptions& options,
                                        const std::stop_token& stop, const LoadProgress& load_progress) {
  LoadOptions load = options.load;
  load.backend.float_weights = parse_dtype(options.dtype);
  load.served_name = found.served_name;
  auto loaded = load_model(found.local.name, found.local.path, load, [&](uint64_t done, uint64_t total) {
    if (stop.stop_requested()) throw Error(ErrorCode::kCancelled, "stopped while loading");
    if (load_progress) load_progress(done, total);
  });
  if (found.local.entry) fill_in_defaults(loaded->defaults, *found.local.entry);
  if (!options.chat_template.empty()) loaded->chat_template.emplace(template_source(options.chat_template));
  return loaded;
}

std::shared_ptr<LoadedModel> open_model(const OpenModelOptions& options, const std::stop_token& stop,
                                        ProgressSink& pull_progress, const LoadProgress& load_progress) {
  const auto hub = open_hub(options.download_dir);
  return load_found(find_or_fetch(*hub, options, stop, pull_progress), options, stop, load_progress);
}

}  // namespace carronade
