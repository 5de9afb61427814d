// From what a user typed to a model that can answer; for the commands that need one.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "hub/hub.h"
#include "hub/loaded_model.h"

namespace carronade {

// Tokens guessed from the text itself, at most so many a step: docs/decisions/0007. Answers are the same without.
inline constexpr int kGuessedTokens = 6;

struct OpenModelOptions {
  std::string model;          // as Hub::parse() reads it; empty: the default, or its fallback
  std::string served_name;    // empty: what the user typed, or the model's own name
  std::string download_dir;   // empty: the cache folder
  std::string chat_template;  // a file, or the template itself; empty: the model's own
  std::string revision;       // of a repository: a branch, tag or commit; empty: as `model` says
  std::string dtype = "auto";
  LoadOptions load;
};

// vLLM's --dtype: the format that float weights are held in. Unset for "auto": as they were published. Throws
// Error{kInvalidArgument} with the names there are.
std::optional<DType> parse_dtype(const std::string& name);
inline constexpr const char* kDtypeHelp =
    "Hold float weights as float16, bfloat16 or float32 (default auto: as published); quantized ones stay as they are";
inline constexpr const char* kRevisionHelp = "Branch, tag or commit of the model's repository (default main)";

// What `text` names, if it is here: nothing is fetched. Throws Error{kNotFound} that says how to get it.
LocalModel find_installed(const Hub& hub, const std::string& text);

// A model that is on this machine, and what clients call it.
struct FoundModel {
  LocalModel local;
  std::string served_name;
};

// The two parts of open_model(). `found` belongs to the hub's catalogue.
FoundModel find_or_fetch(const Hub& hub, const OpenModelOptions& options, const std::stop_token& stop,
                         ProgressSink& pull_progress);
std::shared_ptr<LoadedModel> load_found(const FoundModel& found, const OpenModelOptions& options,
                                        const std::stop_token& stop, const LoadProgress& load_progress);

// The hub whose models are in `download_dir`; empty: in the cache folder.
std::shared_ptr<const Hub> open_hub(const std::string& download_dir);

// Fetches the model unless it is here, and loads it. The catalogue's chat defaults are filled in where the model's own
// files say nothing. A stop ends both parts with Error{kCancelled}.
std::shared_ptr<LoadedModel> open_model(const OpenModelOptions& options, const std::stop_token& stop,
                                        ProgressSink& pull_progress, const LoadProgress& load_progress);

}  // namespace carronade
