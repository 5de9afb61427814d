// A tiny tokenizer and a scripted generator, for tests of this room and of those above. Only *_test.cc files include
// it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "chat/chat_model.h"
#include "chat/generation_job.h"

namespace carronade {

// Bytes are tokens 0…255, two line ends are one token (as in real vocabularies), then the special tokens, in their
// order.
class ByteTokenizer : public Tokenizer {
 public:
  static constexpr TokenId kTwoLineEnds = 256, kFirstSpecial = 257;

  explicit ByteTokenizer(std::vector<std::string> specials, TokenizerData data = {})
      : specials_(std::move(specials)), data_(std::move(data)) {
    for (int byte = 0; byte < 256; ++byte) bytes_.emplace_back(1, static_cast<char>(byte));
  }

  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const override {
    std::vector<TokenId> tokens;
    while (!text.empty()) {
      const auto [token, size] = next(text, options.parse_special);
      tokens.push_back(token);
      text.remove_prefix(size);
    }
    return tokens;
  }

  std::string_view token_bytes(TokenId id) const override {
    if (id < 0 || id >= vocabulary_size()) return {};
    if (id < 256) return bytes_[static_cast<size_t>(id)];
    return id == kTwoLineEnds ? std::string_view("\n\n")
                              : std::string_view(specials_[static_cast<size_t>(id - kFirstSpecial)]);
  }
  bool is_special(TokenId id) const override { return id >= kFirstSpecial && id < vocabulary_size(); }
  TokenId special_token(std::string_view spelling) const override {
    for (size_t i = 0; i < specials_.size(); ++i) {
      if (specials_[i] == spelling) return kFirstSpecial + static_cast<TokenId>(i);
    }
    return -1;
  }
  int vocabulary_size() const override { return kFirstSpecial + static_cast<int>(specials_.size()); }
  const TokenizerData& data() const override { return data_; }

 private:
  std::pair<TokenId, size_t> next(std::string_view text, bool parse_special) const {
    if (parse_special) {
      for (size_t i = 0; i < specials_.size(); ++i) {
        if (text.starts_with(specials_[i])) return {kFirstSpecial + static_cast<TokenId>(i), specials_[i].size()};
      }
    }
    if (text.starts_with("\n\n")) return {kTwoLineEnds, 2};
    return {static_cast<unsigned char>(text[0]), 1};
  }

  std::vector<std::string> specials_, bytes_;
  TokenizerData data_;
};

// Answers every request with the same tokens, on a thread of its own as an engine would, one for each permit: allow(n)
// lets n tokens through, so tests decide what has happened when, without sleeping.
class ScriptedGenerator : public TokenGenerator {
 public:
  explicit ScriptedGenerator(std::vector<TokenId> script, bool unlimited = true)
      : script_(std::move(script)), permits_(unlimited ? 1 << 30 : 0), thread_([this] { run(); }) {}

  ~ScriptedGenerator() override {
    {
      std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  RequestId submit(Request request) override {
    std::lock_guard lock(mutex_);
    if (refuse_) throw Error(ErrorCode::kUnavailable, "the queue is full");
    last_sampling_ = request.sampling;
    last_prompt_ = request.prompt;
    last_tenant_ = request.tenant;
    last_salt_ = request.cache_salt;
    queue_.emplace_back(++last_id_, std::move(request));
    changed_.notify_all();
    return last_id_;
  }
  void cancel(RequestId id) override {
    std::lock_guard lock(mutex_);
    cancelled_[id] = true;
    changed_.notify_all();
  }

  void end_background() override {
    std::lock_guard lock(mutex_);
    without_background_ = true;
    changed_.notify_all();
  }

  void allow(int tokens) {
    std::lock_guard lock(mutex_);
    permits_ += tokens;
    changed_.notify_all();
  }
  void refuse() {
    std::lock_guard lock(mutex_);
    refuse_ = true;
  }
  // Waits until `n` requests have ended with kCancelled.
  void wait_for_cancelled(int n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_by_cancel_ >= n; });
  }
  Tenant last_tenant() {
    std::lock_guard lock(mutex_);
    return last_tenant_;
  }
  CacheSalt last_salt() {
    std::lock_guard lock(mutex_);
    return last_salt_;
  }
  SamplingParameters last_sampling() {
    std::lock_guard lock(mutex_);
    return last_sampling_;
  }
  std::vector<TokenId> last_prompt() {
    std::lock_guard lock(mutex_);
    return last_prompt_;
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) return;
      auto [id, request] = std::move(queue_.front());
      queue_.pop_front();
      answer(lock, id, request);
    }
  }

  void answer(std::unique_lock<std::mutex>& lock, RequestId id, Request& request) {
    Finished finished;
    finished.usage.prompt_tokens = static_cast<int>(request.prompt.size());
    const auto& stops = request.sampling.stop_tokens;
    std::deque<TokenId> rest(script_.begin(), script_.end());
    while (!rest.empty()) {
      const TokenId token = rest.front();
      rest.pop_front();
      const bool background = request.tenant.priority == Tenant::Priority::kBackground;
      changed_.wait(lock,
                    [&] { return closing_ || permits_ > 0 || cancelled_[id] || (background && without_background_); });
      if (background && without_background_) {
        finished.reason = FinishReason::kFailed;
        finished.error.emplace(ErrorCode::kUnavailable, "it gave way");
        break;
      }
      if (closing_ || cancelled_[id]) {
        finished.reason = FinishReason::kCancelled;
        break;
      }
      --permits_;
      if (std::ranges::find(stops, token) != stops.end()) {
        finished.stop_token = token;
        break;
      }
      ++finished.usage.completion_tokens;
      lock.unlock();
      const auto verdict =
          request.constraint ? request.constraint->accept(token) : Constraint::Verdict(Constraint::Continue{});
      request.sink(TokenEvent{token, -0.5f, {{token, -0.5f}, {'x', -1.5f}}, 1});
      lock.lock();
      if (std::holds_alternative<Constraint::Stop>(verdict)) break;
      if (const auto* force = std::get_if<Constraint::Force>(&verdict))
        rest.insert(rest.begin(), force->tokens.begin(), force->tokens.end());
      if (finished.usage.completion_tokens >= request.sampling.max_tokens) {
        finished.reason = FinishReason::kLength;
        break;
      }
    }
    lock.unlock();
    request.sink(finished);
    request.sink = nullptr;
    lock.lock();
    ended_by_cancel_ += finished.reason == FinishReason::kCancelled ? 1 : 0;
    changed_.notify_all();
  }

  std::vector<TokenId> script_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<RequestId, Request>> queue_;
  std::map<RequestId, bool> cancelled_;
  Tenant last_tenant_;
  CacheSalt last_salt_{};
  SamplingParameters last_sampling_;
  std::vector<TokenId> last_prompt_;
  RequestId last_id_ = 0;
  int permits_;
  int ended_by_cancel_ = 0;
  bool closing_ = false, refuse_ = false, without_background_ = false;
  std::thread thread_;
};

// Waits for a job's end and keeps all it said.
class EventLog {
 public:
  ChatSink sink() {
    return [this](ChatEvent event) {
      std::lock_guard lock(mutex_);
      if (auto* reasoning = std::get_if<ReasoningDelta>(&event)) thought += reasoning->text;
      if (auto* answer_delta = std::get_if<AnswerDelta>(&event)) {
        answer += answer_delta->text;
        for (auto& token : answer_delta->tokens) details.push_back(token);
      }
      if (auto* end = std::get_if<ChatFinished>(&event)) {
        finished = *end;
        ++finishes;
      }
      changed_.notify_all();
    };
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return finishes > 0; });
  }

  std::string thought, answer;
  std::vector<TokenDetail> details;
  ChatFinished finished;
  int finishes = 0;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

inline constexpr const char* kTestTemplate =
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if think %}<think>\n{% endif %}{% endif %}{# </think> #}";

// `end`: the id of <|im_end|>.
inline std::shared_ptr<ChatModel> make_test_model(std::shared_ptr<TokenGenerator> generator,
                                                  const char* source = kTestTemplate) {
  auto model = std::make_shared<ChatModel>();
  model->name = "tiny";
  model->generator = std::move(generator);
  auto tokenizer =
      std::make_shared<ByteTokenizer>(std::vector<std::string>{"<|im_start|>", "<|im_end|>", "<think>", "</think>"});
  model->end_of_generation = {tokenizer->special_token("<|im_end|>")};
  model->tokenizer = tokenizer;
  model->chat_template = std::make_shared<const ChatTemplate>(source);
  model->max_model_len = 1000;
  derive_chat_traits(*model);
  return model;
}

// A script of tokens: text as bytes, special tokens where they are spelled.
inline std::vector<TokenId> test_tokens(std::string_view text) {
  return ByteTokenizer({"<|im_start|>", "<|im_end|>", "<think>", "</think>"}).encode(text, {.parse_special = true});
}

}  // namespace carronade
