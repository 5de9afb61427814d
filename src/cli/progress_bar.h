// What a pull says, for people: a bar on a terminal, plain lines elsewhere. On standard error; standard output belongs
// to results.
#pragma once

#include <chrono>
#include <string_view>

#include "hub/progress.h"

namespace carronade {

// One thread. `quiet`: says nothing at all.
class ProgressBar : public ProgressSink {
 public:
  explicit ProgressBar(bool quiet = false);
  ~ProgressBar() override;
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void message(std::string_view line) override;
  void progress(uint64_t done_bytes, std::optional<uint64_t> total_bytes) override;

 private:
  void draw(bool final);
  void clear();

  const bool quiet_;
  const bool terminal_;
  ProgressMeter meter_;
  ProgressMeter::TimePoint drawn_{};
  bool visible_ = false;  // a bar stands on the current line
  bool complete_ = false;
};

}  // namespace carronade
