// What `doctor` finds: facts about this machine, what fits on it, and what is wrong with the remedy.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/machine.h"
#include "hub/hub.h"

namespace carronade {

struct Finding {
  enum class State { kGood, kWarning, kWrong };
  State state = State::kGood;
  std::string subject;  // "Memory"
  std::string text;
  std::string remedy;  // empty when all is well
};

struct ModelFit {
  std::string name;
  bool installed = false;
  uint64_t weights = 0;          // bytes
  uint64_t kv_per_user = 0;      // bytes for 4,096 tokens; 0: not known
  int64_t users = 0;             // who each have 4,096 tokens, beside the weights; -1: not known
  double tokens_per_second = 0;  // at most, for one user: reading the weights once a token; 0: not measured
};
inline constexpr uint64_t kUserTokens = 4096;

struct DoctorOptions {
  std::string download_dir, data_dir;
  bool offline = false;  // ask no hub
};

struct DoctorReport {
  Machine machine;
  std::string isa;
  double bandwidth = 0;  // bytes a second
  std::vector<Finding> findings;
  std::vector<ModelFit> models;
};

// Takes about two seconds, more where hubs do not answer (at most three).
DoctorReport examine(const Hub& hub, const DoctorOptions& options);

// Separate, for tests: what is to be said of a machine, and how much of a model it holds.
std::vector<Finding> judge_machine(const Machine& machine, const std::string& isa, double bandwidth);
ModelFit fit_model(const std::string& name, uint64_t weights, uint64_t kv_per_token, uint64_t memory_available,
                   double bandwidth);

}  // namespace carronade
