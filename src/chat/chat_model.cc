#include "chat/chat_model.h"

#include <algorithm>

#include "engine/kv_budget.h"

namespace carronade {

namespace {

class EngineGenerator : public TokenGenerator {
 public:
  explicit EngineGenerator(std::shared_ptr<LoadedModel> loaded) : loaded_(std::move(loaded)) {}
  RequestId submit(Request request) override { return loaded_->engine->submit(std::move(request)); }
  void cancel(RequestId id) override { loaded_->engine->cancel(id); }
  void end_background() override { loaded_->engine->end_background(); }

 private:
  std::shared_ptr<LoadedModel> loaded_;
};

}  // namespace

std::shared_ptr<const ChatModel> make_chat_model(const std::shared_ptr<LoadedModel>& loaded,
                                                 const ChatModelOptions& options) {
  auto model = std::make_shared<ChatModel>();
  model->name = loaded->name;
  model->generator = std::make_shared<EngineGenerator>(loaded);
  model->engine = std::shared_ptr<Engine>(loaded, loaded->engine.get());
  model->tokenizer = std::shared_ptr<const Tokenizer>(loaded, loaded->tokenizer.get());
  if (loaded->chat_template)
    model->chat_template = std::shared_ptr<const ChatTemplate>(loaded, &*loaded->chat_template);
  model->end_of_generation = loaded->end_of_generation;
  model->max_model_len = loaded->engine->options().max_model_len;
  if (!options.ignore_model_defaults) model->defaults = loaded->defaults;
  model->server_defaults = options.server_defaults;
  model->template_arguments = options.template_arguments;
  derive_chat_traits(*model);
  return model;
}

uint64_t PooledChatModel::bytes() const { return model_->engine ? most_bytes(*model_->engine) : 0; }

std::shared_ptr<const ChatModel> chat_model_of(const PooledModelPtr& held) {
  if (!held) return nullptr;
  return {held, &static_cast<const PooledChatModel&>(*held).model()};
}

void derive_chat_traits(ChatModel& model) {
  model.special_spellings.clear();
  for (TokenId id = 0; id < model.tokenizer->vocabulary_size(); ++id) {
    if (model.tokenizer->is_special(id)) model.special_spellings.emplace_back(model.tokenizer->token_bytes(id));
  }
  std::erase(model.special_spellings, std::string());
  std::ranges::sort(model.special_spellings,
                    [](const auto& a, const auto& b) { return a.size() != b.size() ? a.size() > b.size() : a < b; });

  // A model thinks when its template knows the mark, or its vocabulary holds it as one token.
  const ThoughtTags tags;
  const bool in_template = model.chat_template && model.chat_template->source().find(tags.close) != std::string::npos;
  const bool in_vocabulary = model.tokenizer->special_token(tags.close) >= 0;
  model.thought.reset();
  if (in_template || in_vocabulary) model.thought = tags;
}

}  // namespace carronade
