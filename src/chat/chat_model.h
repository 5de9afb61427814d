// One model as this room sees it: a tokenizer, a template and something that draws tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "chat/sampling.h"
#include "engine/request.h"
#include "hub/loaded_model.h"
#include "hub/model_pool.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace carronade {

// What a job needs of an Engine. Thread-safe. The contract is Engine's: exactly one Finished for each submit that
// returned.
class TokenGenerator {
 public:
  virtual ~TokenGenerator() = default;
  virtual RequestId submit(Request request) = 0;
  virtual void cancel(RequestId id) = 0;
  virtual void end_background() {}  // Engine::end_background()
};

// The marks around a thought, in the order in which the model writes them.
struct ThoughtTags {
  std::string open = "<think>";
  std::string close = "</think>";
};

// Immutable once made; shared by all jobs on the model.
struct ChatModel {
  std::string name;  // as served
  std::shared_ptr<TokenGenerator> generator;
  std::shared_ptr<Engine> engine;  // behind the generator, for those who watch it; nullptr in tests
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;  // or nullptr: the model cannot chat
  std::vector<TokenId> end_of_generation;             // never part of an answer
  int max_model_len = 0;                              // positions of a prompt and its answer

  GenerationDefaults defaults;      // the model's own
  SamplingOptions server_defaults;  // the operator's; they come before the model's
  nlohmann::ordered_json template_arguments = nlohmann::ordered_json::object();  // the operator's, below a request's

  std::optional<ThoughtTags> thought;          // set when the model is of a kind that thinks
  std::vector<std::string> special_spellings;  // every special token's, longest first
};

// What `serve` may say about a model before it is shared.
struct ChatModelOptions {
  SamplingOptions server_defaults;
  bool ignore_model_defaults = false;  // vLLM's `--generation-config vllm`
  nlohmann::ordered_json template_arguments = nlohmann::ordered_json::object();
};

// Keeps `loaded` alive for as long as the result lives.
std::shared_ptr<const ChatModel> make_chat_model(const std::shared_ptr<LoadedModel>& loaded,
                                                 const ChatModelOptions& options = {});

// A chat model as a pool keeps it.
class PooledChatModel : public PooledModel {
 public:
  explicit PooledChatModel(std::shared_ptr<const ChatModel> model) : model_(std::move(model)) {}
  uint64_t bytes() const override;
  void end_background() override { model_->generator->end_background(); }
  const ChatModel& model() const { return *model_; }

 private:
  std::shared_ptr<const ChatModel> model_;
};

// The chat model of one that is in hand: it stays in hand for as long as the result lives. Every model of the pool is a
// PooledChatModel.
std::shared_ptr<const ChatModel> chat_model_of(const PooledModelPtr& held);

// Fills in what follows from tokenizer and template (`thought`, `special_spellings`).
void derive_chat_traits(ChatModel& model);

}  // namespace carronade
