// How many rows of prompts a step may take, so that steps stay short: those who stream do not stutter, and a cancelled
// request ends soon.
#pragma once

#include <algorithm>

namespace carronade {

// On the engine's thread. Fed with measured times; never changes results, since a row's result does not depend on the
// chunk it came in.
class StepPacer {
 public:
  explicit StepPacer(int max_rows) : max_rows_(max_rows) {}

  int prefill_rows(bool others_stream) const {
    const double rows = (others_stream ? kBesideStreams : kAlone) / seconds_per_row_;
    return static_cast<int>(std::clamp(rows, static_cast<double>(kFewestRows), static_cast<double>(max_rows_)));
  }

  double seconds_per_row() const { return seconds_per_row_; }

  // A step of `rows` took `seconds`. Small steps say nothing about the cost of a prompt's row.
  void measured(int rows, double seconds) {
    if (rows < kFewestRows) return;
    seconds_per_row_ = 0.7 * seconds_per_row_ + 0.3 * seconds / rows;
  }

 private:
  static constexpr double kAlone = 0.5;           // seconds until a cancellation is seen
  static constexpr double kBesideStreams = 0.15;  // seconds that a stream may stand still
  static constexpr int kFewestRows = 16;  // below, a step is bound by reading the weights and more rows are nearly free

  int max_rows_;
  double seconds_per_row_ = 0.002;  // a first guess: a 1.5 B model on a few cores
};

}  // namespace carronade
