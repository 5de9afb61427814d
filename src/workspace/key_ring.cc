#include "workspace/key_ring.h"

#include <algorithm>
#include <condition_variable>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace carronade {

namespace {

int64_t seconds_of(Moment moment) {
  return std::chrono::duration_cast<std::chrono::seconds>(moment.time_since_epoch()).count();
}

constexpr int64_t kSecondsOfDay = 86400;

// The tenant of a key without a row: the same for the same key, since KV blocks on disk belong to a tenant.
int64_t id_of_hash(const std::string& hash) {
  return static_cast<int64_t>(std::stoull(hash.substr(0, 13), nullptr, 16));
}

}  // namespace

// ---- ApiKey ----

ApiKey::ApiKey(const ApiKeyRow& row, WallClock clock) : id_(row.id), name_(row.name), clock_(std::move(clock)) {
  update(row);
}

void ApiKey::update(const ApiKeyRow& row) {
  const Moment now = clock_();
  std::lock_guard lock(mutex_);
  row_ = row;
  requests_.set(row.requests_per_minute, now);
  tokens_.set(row.tokens_per_minute, now);
}

ApiKeyRow ApiKey::row() const {
  std::lock_guard lock(mutex_);
  return row_;
}

bool ApiKey::may(KeyScope scope) const {
  std::lock_guard lock(mutex_);
  return (row_.scopes & static_cast<KeyScopes>(scope)) != 0;
}

void ApiKey::roll_over(int64_t day) {
  if (day <= day_) return;
  day_ = day;
  used_today_ = 0;
}

Admission ApiKey::state() const {
  const Moment now = clock_();
  std::lock_guard lock(mutex_);
  Admission result;
  if (requests_.limited()) result.requests = requests_.state(now);
  if (tokens_.limited()) result.tokens = tokens_.state(now);
  return result;
}

Admission ApiKey::admit() {
  const Moment now = clock_();
  const int64_t seconds = seconds_of(now);
  Admission result;
  {
    std::lock_guard lock(mutex_);
    roll_over(seconds / kSecondsOfDay);
    if (row_.tokens_per_day > 0 && used_today_ >= row_.tokens_per_day) {
      result.refusal = Admission::Refusal::kQuota;
      result.limit = row_.tokens_per_day;
      result.retry_seconds = static_cast<double>(kSecondsOfDay - seconds % kSecondsOfDay);
    } else if (!requests_.allows(now)) {
      result.refusal = Admission::Refusal::kRequests;
      result.limit = row_.requests_per_minute;
      result.retry_seconds = requests_.wait_seconds(now);
    } else if (!tokens_.allows(now)) {
      result.refusal = Admission::Refusal::kTokens;
      result.limit = row_.tokens_per_minute;
      result.retry_seconds = tokens_.wait_seconds(now);
    } else {
      requests_.take(1, now);
      put_back({id_, day_, 1, 0, 0});
    }
  }
  const Admission limits = state();
  result.requests = limits.requests;
  result.tokens = limits.tokens;
  return result;
}

void ApiKey::spend(int64_t prompt_tokens, int64_t completion_tokens) {
  const Moment now = clock_();
  std::lock_guard lock(mutex_);
  roll_over(seconds_of(now) / kSecondsOfDay);
  tokens_.take(prompt_tokens + completion_tokens, now);
  used_today_ += prompt_tokens + completion_tokens;
  put_back({id_, day_, 0, prompt_tokens, completion_tokens});
}

void ApiKey::put_back(const KeyUsageRow& usage) {
  KeyUsageRow& row = pending_[usage.day];
  row.key_id = usage.key_id;
  row.day = usage.day;
  row.requests += usage.requests;
  row.prompt_tokens += usage.prompt_tokens;
  row.completion_tokens += usage.completion_tokens;
}

std::vector<KeyUsageRow> ApiKey::take_pending() {
  std::lock_guard lock(mutex_);
  std::vector<KeyUsageRow> rows;
  for (const auto& [day, row] : std::exchange(pending_, {})) rows.push_back(row);
  return rows;
}

void ApiKey::set_stored(int64_t day, int64_t tokens) {
  std::lock_guard lock(mutex_);
  roll_over(day);
  if (day != day_) return;
  const auto pending = pending_.find(day);
  used_today_ = tokens;
  if (pending != pending_.end()) used_today_ += pending->second.prompt_tokens + pending->second.completion_tokens;
}

// ---- KeyRing ----

struct KeyRing::Impl {
  using Keys = std::unordered_map<std::string, std::shared_ptr<ApiKey>>;

  Impl(std::shared_ptr<Database> database, KeyRingOptions options) : options(std::move(options)) {
    if (database) store.emplace(std::move(database));
  }

  void add_given(const std::vector<std::string>& tokens) {
    for (const std::string& token : tokens) {
      ApiKeyRow row;
      row.hash = hash_token(token);
      row.id = id_of_hash(row.hash);
      row.name = "--api-key";
      row.scopes = kAllScopes;
      given.push_back(std::make_shared<ApiKey>(row, options.clock));
    }
  }

  void write_usage() {
    std::vector<std::pair<std::shared_ptr<ApiKey>, KeyUsageRow>> taken;
    for (const auto& [hash, key] : snapshot()) {
      for (const KeyUsageRow& row : key->take_pending()) taken.emplace_back(key, row);
    }
    if (taken.empty()) return;
    std::vector<KeyUsageRow> rows;
    for (const auto& [key, row] : taken) rows.push_back(row);
    try {
      store->add_usage(rows);
    } catch (...) {
      for (const auto& [key, row] : taken) {
        std::lock_guard lock(key->mutex_);
        key->put_back(row);
      }
      throw;
    }
  }

  // Keys that were there keep their object, and with it what they have spent.
  void read_keys() {
    const int64_t count = store->change_count();
    if (count == change_count) return;
    Keys known = snapshot(), next;
    for (const ApiKeyRow& row : store->list()) {
      const auto found = known.find(row.hash);
      if (found != known.end()) found->second->update(row);
      next[row.hash] = found != known.end() ? found->second : std::make_shared<ApiKey>(row, options.clock);
    }
    change_count = count;
    usage_is_due = {};
    std::lock_guard lock(mutex);
    had_keys = had_keys || !next.empty();
    keys = std::move(next);
  }

  // What other processes counted; our own is in the store by now.
  void read_usage() {
    const auto now = std::chrono::steady_clock::now();
    if (now < usage_is_due) return;
    usage_is_due = now + std::chrono::seconds(5);
    const Keys known = snapshot();
    const bool has_quota =
        std::ranges::any_of(known, [](const auto& entry) { return entry.second->row().tokens_per_day > 0; });
    if (!has_quota) return;
    std::unordered_map<int64_t, int64_t> used;
    const int64_t today = seconds_of(options.clock()) / kSecondsOfDay;
    for (const KeyUsageRow& row : store->usage_since(today)) {
      if (row.day == today) used[row.key_id] = row.prompt_tokens + row.completion_tokens;
    }
    for (const auto& [hash, key] : known) key->set_stored(today, used[key->id_]);
  }

  void synchronize() {
    if (!store) return;
    std::lock_guard one_at_a_time(synchronizing);
    write_usage();
    read_keys();
    read_usage();
  }

  void run() {
    std::unique_lock lock(wake_mutex);
    bool failing = false;
    while (!wake.wait_for(lock, options.interval, [&] { return ending; })) {
      lock.unlock();
      try {
        synchronize();
        if (std::exchange(failing, false)) spdlog::info("the store of the API keys works again");
      } catch (const std::exception& error) {
        if (!std::exchange(failing, true)) {
          spdlog::error(
              "the API keys stay as they are, and what they use is counted in memory only, until this ends: {}",
              error.what());
        }
      }
      lock.lock();
    }
  }

  Keys snapshot() const {
    std::lock_guard lock(mutex);
    return keys;
  }

  const KeyRingOptions options;
  std::vector<std::shared_ptr<ApiKey>> given;  // never changes
  std::optional<ApiKeyStore> store;

  mutable std::mutex mutex;
  Keys keys;  // under mutex: by hash; revoked ones too, so that their owner is told
  bool had_keys = false;

  std::mutex synchronizing;  // what follows belongs to who holds it
  int64_t change_count = -1;
  std::chrono::steady_clock::time_point usage_is_due{};

  std::mutex wake_mutex;
  std::condition_variable wake;
  bool ending = false;  // under wake_mutex
  std::thread thread;
};

KeyRing::KeyRing(const std::vector<std::string>& given, std::shared_ptr<Database> database, KeyRingOptions options)
    : impl_(std::make_unique<Impl>(std::move(database), std::move(options))) {
  impl_->add_given(given);
  impl_->synchronize();
  if (impl_->store && impl_->options.interval.count() > 0) impl_->thread = std::thread([this] { impl_->run(); });
}

KeyRing::~KeyRing() {
  if (impl_->thread.joinable()) {
    {
      std::lock_guard lock(impl_->wake_mutex);
      impl_->ending = true;
    }
    impl_->wake.notify_all();
    impl_->thread.join();
  }
  try {
    if (impl_->store) impl_->write_usage();
  } catch (const std::exception& error) {
    spdlog::error("what API keys used in the last moments is not kept: {}", error.what());
  }
}

bool KeyRing::open() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->given.empty() && !impl_->had_keys;
}

KeyRing::Found KeyRing::find(std::string_view token) const {
  const std::string hash = hash_token(token);
  std::shared_ptr<ApiKey> found;
  for (const auto& key : impl_->given) {
    if (same_hash(key->row_.hash, hash)) found = key;
  }
  if (found) return {found, {}};
  {
    // A table looked up by a hash tells a guesser nothing: to choose its first digits is to search them.
    std::lock_guard lock(impl_->mutex);
    const auto entry = impl_->keys.find(hash);
    if (entry != impl_->keys.end()) found = entry->second;
  }
  if (!found) return {nullptr, "this API key is not known here"};
  const ApiKeyRow row = found->row();
  if (row.revoked_at != 0) return {nullptr, "this API key was revoked"};
  if (row.expires_at != 0 && seconds_of(impl_->options.clock()) >= row.expires_at) {
    return {nullptr, "this API key has expired"};
  }
  return {found, {}};
}

void KeyRing::synchronize() { impl_->synchronize(); }

}  // namespace carronade
