// What one rendering may cost. Every object, step and level of nesting is charged here, so a template from a stranger's
// file ends in an error instead of a hung or exhausted program.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "text/chat_template.h"

namespace carronade::jinja {

class Object;

// An object that can come to refer to itself: counting alone would never free it. At the end of a rendering those left
// over are cleared.
class Cyclic {
 public:
  explicit Cyclic(class Budget& budget);
  virtual ~Cyclic();
  Cyclic(const Cyclic&) = delete;
  Cyclic& operator=(const Cyclic&) = delete;
  virtual void clear_references() = 0;

 private:
  friend class Budget;
  Cyclic** head_;
  Cyclic* previous_ = nullptr;
  Cyclic* next_;
};

// Owned by one rendering, on one thread. All objects made during a rendering die before it.
class Budget {
 public:
  explicit Budget(const TemplateLimits& limits);
  ~Budget();
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // `n` units of work: an evaluated node, or some dozen bytes handled by a built-in. Throws Error{kTooLarge} past
  // max_steps or max_time.
  void step(uint64_t n = 1) {
    steps_ += n;
    if (steps_ >= next_check_) check();
  }
  // Work that is proportional to a number of bytes.
  void step_bytes(size_t bytes) { step(1 + bytes / 64); }

  // Before a string of this size is made. Throws Error{kTooLarge} where it could not be printed anyway.
  void check_size(uint64_t bytes) const {
    if (bytes > limits_.max_output_bytes) refuse_size();
  }

  void charge(size_t bytes) {
    memory_ += bytes;
    if (memory_ > limits_.max_memory_bytes) refuse_memory();
  }
  void refund(size_t bytes) { memory_ -= bytes; }

  void enter() {
    if (++depth_ > limits_.max_depth) refuse_depth();
  }
  void leave() { --depth_; }

  // Deletes an object whose last reference is gone; children are deleted in turn, not recursively, however deep they
  // nest.
  void bury(Object* object);

 private:
  void check();
  [[noreturn]] void refuse_size() const;
  [[noreturn]] void refuse_memory();
  [[noreturn]] void refuse_depth();

  TemplateLimits limits_;
  std::chrono::steady_clock::time_point deadline_;
  uint64_t steps_ = 0;
  uint64_t next_check_;
  size_t memory_ = 0;
  size_t depth_ = 0;
  friend class Cyclic;
  Cyclic* cyclic_ = nullptr;
  std::vector<Object*> graves_;
  bool burying_ = false;
};

// One level of nesting, for the time of a scope.
class Nested {
 public:
  explicit Nested(Budget& budget) : budget_(budget) { budget.enter(); }
  ~Nested() { budget_.leave(); }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  Budget& budget_;
};

}  // namespace carronade::jinja
