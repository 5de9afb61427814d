// From what a user typed to a model that can answer; for the commands that need one.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "hub/hub.h"
#include "hub/model_pool.h"

namespace carronade {

struct OpenModelOptions {
  std::string model;          // as Hub::parse() reads it; empty: the default, or its fallback
  std::string served_name;    // empty: what the user typed, or the model's own name
  std::string download_dir;   // empty: the cache folder
  std::string chat_template;  // a file, or the template itself; empty: the model's own
  LoadOptions load;
};

// What `text` names, if it is here: nothing is fetched. Throws Error{kNotFound} that says how to get it.
LocalModel find_installed(const Hub& hub, const std::string& text);

// Fetches the model unless it is here, and loads it. The catalogue's chat defaults are filled in where the model's own
// files say nothing. A stop ends both parts with Error{kCancelled}.
std::shared_ptr<LoadedModel> open_model(const OpenModelOptions& options, const std::stop_token& stop,
                                        ProgressSink& pull_progress, const LoadProgress& load_progress);

}  // namespace carronade
