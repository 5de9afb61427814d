// Who may ask, and how much: the keys that were given at start and those in the store, their limits, and what they use.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "store/api_keys.h"
#include "workspace/api_key.h"
#include "workspace/rate_limit.h"

namespace carronade {

using WallClock = std::function<Moment()>;

// Whether a request may run, and what its reply says of the limits.
struct Admission {
  enum class Refusal { kNone, kRequests, kTokens, kQuota } refusal = Refusal::kNone;
  double retry_seconds = 0;                    // of a refusal
  int64_t limit = 0;                           // that was reached
  std::optional<LimitState> requests, tokens;  // a minute; where there are such limits
};

// One key, shared by all requests that carry it. Thread-safe.
class ApiKey {
 public:
  ApiKey(const ApiKeyRow& row, WallClock clock);

  const std::string& name() const { return name_; }
  // Of the fair queue, and of what prefixes are shared: each key is one.
  Tenant tenant() const { return {.id = static_cast<uint64_t>(id_)}; }
  bool may(KeyScope scope) const;

  // Counts a request against the limits, unless one is reached.
  Admission admit();
  // What an answer cost, once it is known: the prompt when it begins, the tokens when it has ended.
  void spend(int64_t prompt_tokens, int64_t completion_tokens);
  Admission state() const;  // counts nothing

 private:
  friend class KeyRing;
  void update(const ApiKeyRow& row);
  ApiKeyRow row() const;
  std::vector<KeyUsageRow> take_pending();
  void put_back(const KeyUsageRow& usage);
  void set_stored(int64_t day, int64_t tokens);
  void roll_over(int64_t day);

  const int64_t id_;
  const std::string name_;
  const WallClock clock_;
  mutable std::mutex mutex_;  // everything below
  ApiKeyRow row_;
  mutable RateLimit requests_, tokens_;
  std::map<int64_t, KeyUsageRow> pending_;  // by day: used, and not yet in the store
  int64_t day_ = 0, used_today_ = 0;        // tokens, pending ones included
};

struct KeyRingOptions {
  std::chrono::milliseconds interval{400};  // between looks at the store, and writes of what was used; 0: only on call
  WallClock clock = [] { return std::chrono::system_clock::now(); };
};

// Thread-safe. A thread of its own writes what was used and takes over changes of the keys, by whichever process,
// within a second; when the store fails the keys stay as they were last known, and what was used waits.
class KeyRing {
 public:
  // `given`: keys of the command line, which may do everything without limits. `database`: nullptr for none. Throws
  // Error where the store cannot be read: a server that should ask for keys must not start without them.
  KeyRing(const std::vector<std::string>& given, std::shared_ptr<Database> database, KeyRingOptions options = {});
  ~KeyRing();  // writes what is pending
  KeyRing(const KeyRing&) = delete;
  KeyRing& operator=(const KeyRing&) = delete;

  // There is no key, and has not been any since the start, so nobody needs one. Revoking the last key does not open the
  // server.
  bool open() const;

  struct Found {
    std::shared_ptr<ApiKey> key;  // nullptr: this token opens nothing
    std::string reason;           // then: why, in words for who presented it
  };
  Found find(std::string_view token) const;

  // What the thread does: throws Error when the store fails.
  void synchronize();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace carronade
