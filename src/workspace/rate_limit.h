// So much a minute, in the form of a token bucket: full at first, refilled evenly, so that a client may send its
// minute's worth at once and then goes on at the rate. Source: Turner, "New directions in communications" (1986).
#pragma once

#include <chrono>
#include <cstdint>

namespace carronade {

using Moment = std::chrono::system_clock::time_point;

// What a client is told of one limit, as OpenAI's x-ratelimit headers do.
struct LimitState {
  int64_t limit = 0;
  int64_t remaining = 0;
  double reset_seconds = 0;  // until it is full again
};

class RateLimit {
 public:
  // 0: no limit. What was spent stays spent.
  void set(int64_t per_minute, Moment now);
  bool limited() const { return per_minute_ > 0; }

  // One may be taken now. A clock that was set back refills nothing.
  bool allows(Moment now);
  // May go below nothing: what an answer cost is known when it was made, and then has to be waited for.
  void take(int64_t count, Moment now);
  // Until allows() would be true.
  double wait_seconds(Moment now);
  LimitState state(Moment now);

 private:
  void refill(Moment now);
  double rate() const { return static_cast<double>(per_minute_) / 60.0; }
  int64_t per_minute_ = 0;
  double level_ = 0;  // at most per_minute_
  Moment at_{};
};

}  // namespace carronade
