#include "hub/loaded_model.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/log.h"

namespace carronade {
namespace {

std::unique_ptr<Backend> make_backend(const LoadOptions& options) {
  if (options.backend_name == "cpu") return make_cpu_backend(options.backend);
  if (options.backend_name == "reference") return make_reference_backend(options.backend);
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("no backend \"{}\": cpu and reference are there", options.backend_name), "backend");
}

// Keys of the GGUF specification's "general.sampling"; a safetensors reader fills them from generation_config.json.
GenerationDefaults read_generation_defaults(const Checkpoint& checkpoint) {
  const auto real = [&](const char* key) -> std::optional<float> {
    if (const std::optional<double> value = checkpoint.real(key)) return static_cast<float>(*value);
    return std::nullopt;
  };
  GenerationDefaults defaults;
  defaults.temperature = real("general.sampling.temp");
  defaults.top_p = real("general.sampling.top_p");
  defaults.min_p = real("general.sampling.min_p");
  defaults.typical_p = real("general.sampling.typical_p");
  defaults.repetition_penalty = real("general.sampling.penalty_repeat");
  if (const std::optional<int64_t> top_k = checkpoint.integer("general.sampling.top_k"))
    defaults.top_k = static_cast<int>(*top_k);
  return defaults;
}

// A model whose template this program cannot read still completes text.
std::optional<ChatTemplate> read_chat_template(const Checkpoint& checkpoint, const std::string& name) {
  const std::optional<std::string> source = checkpoint.chat_template();
  if (!source) return std::nullopt;
  try {
    return ChatTemplate(*source);
  } catch (const Error& error) {
    spdlog::warn("{}: its chat template is left out: {}", name, error.what());
    return std::nullopt;
  }
}

// A type that was asked for does not make quantized weights float again.
void tell_of_quantized_weights(const Checkpoint& checkpoint, const std::string& name) {
  std::set<std::string_view> types;
  for (const TensorView& tensor : checkpoint.tensors()) {
    if (!is_float(tensor.dtype)) types.insert(info(tensor.dtype).name);
  }
  if (!types.empty()) spdlog::warn("{}: its weights are quantized and stay so ({})", name, fmt::join(types, " "));
}

// Names files by where they are, how long they are and when they were written: what KV blocks on disk hang on.
std::string identity(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  std::error_code failure;
  fs::path whole = fs::canonical(path, failure);
  if (failure) whole = path;
  std::vector<fs::path> files;
  if (fs::is_directory(whole, failure)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(whole, failure)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
  } else {
    files.push_back(whole);
  }
  std::string text = whole.string();
  for (const fs::path& file : files) {
    const auto size = fs::file_size(file, failure);
    const auto time = fs::last_write_time(file, failure).time_since_epoch().count();
    text += fmt::format("|{} {} {}", file.filename().string(), failure ? 0 : size, failure ? 0 : time);
  }
  return text;
}

void load_adapters(Model& model, const std::vector<AdapterSource>& adapters) {
  for (size_t i = 0; i < adapters.size(); ++i) {
    model.load_adapter(static_cast<int>(i), *AdapterFile::open(adapters[i].path, model.config().architecture));
  }
}

}  // namespace

std::shared_ptr<LoadedModel> load_model(const std::string& name, const std::filesystem::path& path,
                                        const LoadOptions& options, const LoadProgress& progress) {
  auto loaded = std::make_shared<LoadedModel>();
  loaded->name = options.served_name.empty() ? name : options.served_name;
  loaded->path = path;
  const std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::open(path);
  if (options.backend.float_weights) tell_of_quantized_weights(*checkpoint, name);
  // What is quick and may fail comes before the weights.
  const ModelConfig config = read_model_config(*checkpoint);
  if (config.encoder) {
    throw_error(ErrorCode::kUnsupported, "{}: a {} model makes vectors of texts; it cannot write text", path.string(),
                config.architecture);
  }
  loaded->tokenizer = Tokenizer::create(checkpoint->tokenizer_data());
  if (loaded->tokenizer->vocabulary_size() > config.vocabulary) {
    throw_error(ErrorCode::kCorruptFile, "{}: the tokenizer has {} tokens, but the model {}", path.string(),
                loaded->tokenizer->vocabulary_size(), config.vocabulary);
  }
  loaded->chat_template = read_chat_template(*checkpoint, name);
  loaded->end_of_generation = checkpoint->end_of_generation();
  loaded->defaults = read_generation_defaults(*checkpoint);

  std::unique_ptr<Backend> backend = make_backend(options);
  std::unique_ptr<Model> model = Model::load(*checkpoint, *backend, progress);
  load_adapters(*model, options.adapters);
  loaded->adapters = options.adapters;
  EngineOptions engine = options.engine;
  for (const AdapterSource& adapter : options.adapters) engine.adapters.push_back(identity(adapter.path));
  engine.kv_disk_model = identity(path);
  loaded->engine = std::make_unique<Engine>(std::move(backend), std::move(model), engine);
  loaded->created =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  return loaded;
}

}  // namespace carronade
