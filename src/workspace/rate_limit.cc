#include "workspace/rate_limit.h"

#include <algorithm>
#include <cmath>

namespace carronade {

void RateLimit::set(int64_t per_minute, Moment now) {
  if (per_minute == per_minute_) return;
  refill(now);
  const double spent = static_cast<double>(per_minute_) - level_;
  per_minute_ = per_minute;
  level_ = static_cast<double>(per_minute) - spent;
  at_ = now;
}

void RateLimit::refill(Moment now) {
  const double seconds = std::chrono::duration<double>(now - at_).count();
  at_ = now;
  if (seconds > 0) level_ = std::min(static_cast<double>(per_minute_), level_ + seconds * rate());
}

bool RateLimit::allows(Moment now) {
  if (!limited()) return true;
  refill(now);
  return level_ >= 1.0;
}

void RateLimit::take(int64_t count, Moment now) {
  if (!limited()) return;
  refill(now);
  level_ -= static_cast<double>(count);
}

double RateLimit::wait_seconds(Moment now) { return allows(now) ? 0.0 : (1.0 - level_) / rate(); }

LimitState RateLimit::state(Moment now) {
  refill(now);
  return {per_minute_, static_cast<int64_t>(std::max(0.0, std::floor(level_))),
          (static_cast<double>(per_minute_) - level_) / rate()};
}

}  // namespace carronade
