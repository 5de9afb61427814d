#include "text/jinja/budget.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/value.h"

namespace carronade::jinja {

namespace {
// Often enough that a rendering ends within a millisecond or so of its time, seldom enough that the clock costs
// nothing.
constexpr uint64_t kStepsBetweenLooksAtTheClock = 4096;
}  // namespace

Budget::Budget(const TemplateLimits& limits)
    : limits_(limits),
      deadline_(std::chrono::steady_clock::now() + limits.max_time),
      next_check_(std::min<uint64_t>(kStepsBetweenLooksAtTheClock, limits.max_steps)) {}

Budget::~Budget() {
  burying_ = true;  // nothing is deleted while the chain is walked
  for (Cyclic* object = cyclic_; object; object = object->next_) object->clear_references();
  burying_ = false;
  while (!graves_.empty()) {
    Object* next = graves_.back();
    graves_.pop_back();
    bury(next);
  }
}

Cyclic::Cyclic(Budget& budget) : head_(&budget.cyclic_), next_(budget.cyclic_) {
  if (next_) next_->previous_ = this;
  *head_ = this;
}

Cyclic::~Cyclic() {
  if (next_) next_->previous_ = previous_;
  (previous_ ? previous_->next_ : *head_) = next_;
}

void Budget::check() {
  if (steps_ > limits_.max_steps) {
    throw_error(ErrorCode::kTooLarge, "the chat template takes more than {} steps", limits_.max_steps);
  }
  if (std::chrono::steady_clock::now() > deadline_) {
    throw_error(ErrorCode::kTooLarge, "the chat template takes more than {} ms", limits_.max_time.count());
  }
  next_check_ = std::min<uint64_t>(steps_ + kStepsBetweenLooksAtTheClock, limits_.max_steps + uint64_t{1});
}

void Budget::refuse_size() const {
  throw_error(ErrorCode::kTooLarge, "the chat template makes a text of more than {} bytes", limits_.max_output_bytes);
}

void Budget::refuse_memory() {
  throw_error(ErrorCode::kTooLarge, "the chat template needs more than {} bytes of memory", limits_.max_memory_bytes);
}

void Budget::refuse_depth() {
  throw_error(ErrorCode::kTooLarge, "the chat template nests more than {} levels deep", limits_.max_depth);
}

void Budget::bury(Object* object) {
  if (burying_) {
    graves_.push_back(object);
    return;
  }
  burying_ = true;
  delete object;
  while (!graves_.empty()) {
    Object* next = graves_.back();
    graves_.pop_back();
    delete next;
  }
  burying_ = false;
}

}  // namespace carronade::jinja
