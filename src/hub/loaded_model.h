// A model's name → something that can answer: engine, tokenizer, template.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace carronade {

// What a model's own files (generation_config.json) or the catalogue recommend; unset: the engine's defaults.
struct GenerationDefaults {
  std::optional<float> temperature, top_p, min_p, typical_p, repetition_penalty;
  std::optional<int> top_k;
};

// A low-rank adapter that is served beside its base model, under a name of its own.
struct AdapterSource {
  std::string name;
  std::filesystem::path path;
  std::string base = {};  // the model it belongs to, where several are served
};

// Everything needed to answer with one model. Immutable but for its engine, which is thread-safe; shared by all who use
// it.
struct LoadedModel {
  std::string name;  // as served
  std::filesystem::path path;
  std::unique_ptr<const Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  std::vector<TokenId> end_of_generation;
  GenerationDefaults defaults;
  std::vector<AdapterSource> adapters;
  int64_t created = 0;             // seconds since 1970, when it was loaded
  std::unique_ptr<Engine> engine;  // last, so that it ends first: its events use what stands above
};

struct LoadOptions {
  std::string served_name;  // empty: `name`
  BackendOptions backend;
  EngineOptions engine;
  std::string backend_name = "cpu";     // cpu | reference
  std::vector<AdapterSource> adapters;  // numbered in this order in requests
};

// Opens, checks and loads. `name` is what messages call it. Throws Error.
std::shared_ptr<LoadedModel> load_model(const std::string& name, const std::filesystem::path& path,
                                        const LoadOptions& options, const LoadProgress& progress = {});

}  // namespace carronade
