// Which models `serve` serves, and the pool that loads them.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "api/openai.h"
#include "chat/chat_model.h"
#include "cli/open_model.h"
#include "hub/model_pool.h"

namespace CLI {
class App;
}

namespace carronade {

struct ModelFlags {
  std::vector<std::string> names;  // as typed
  std::string name_flag;           // --model
  std::string folder;              // --models-dir
  std::vector<std::string> served_names;
  std::string keep_alive = "-1";
};

void add_model_flags(CLI::App& command, ModelFlags& flags);

struct ServedModels {
  std::shared_ptr<ModelPool> pool;  // nothing is loaded yet
  std::vector<ServedModel> names;   // the first model's first
};

// What is known of the models before any is fetched.
class ModelChoice {
 public:
  // `common` holds for every model; what it says of one alone is refused where there are several. Throws Error for
  // flags that do not go together, and for folders without a model.
  ModelChoice(const ModelFlags& flags, OpenModelOptions common, ChatModelOptions chat);

  bool several() const { return several_; }
  const std::string& first_name() const { return models_.front().name; }  // as far as it is known

  // Called on the loading thread while a model is loaded, with its number.
  using Progress = std::function<void(size_t model, uint64_t done, uint64_t total)>;

  // Fetches what is not here and shares the memory out. Models of a folder that cannot be served are left out with a
  // line in the log; what was named must work. A stop ends it with Error{kCancelled}.
  ServedModels find(const std::stop_token& stop, ProgressSink& pull_progress, const Progress& progress) const;

 private:
  struct Model {
    std::string typed;  // for the hub; empty: the default model
    std::string name;   // of a folder's model: what clients call it
    bool of_folder = false;
  };
  struct Found;

  void add_folder(const std::filesystem::path& folder);
  std::vector<Found> find_all(const Hub& hub, const std::stop_token& stop, ProgressSink& pull_progress) const;
  void share_out(std::vector<Found>& found, PoolLimits& limits) const;

  std::vector<Model> models_;
  OpenModelOptions common_;
  ChatModelOptions chat_;
  std::vector<std::string> served_names_;
  std::chrono::milliseconds keep_alive_;
  bool several_ = false;
};

}  // namespace carronade
