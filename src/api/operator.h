// JSON for operators: the scheduler's state, and vLLM's small answers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/snapshot.h"
#include "hub/model_pool.h"

namespace carronade {

struct SchedulerReading {
  std::string model_name;
  EngineSnapshot snapshot;
};

// GET /debug/scheduler. Never holds what was written in a prompt or an answer.
std::string scheduler_body(const SchedulerReading& reading);
// The same where there are several models: {"models": […, those that are loaded], "memory": …, "pool": […, all]}.
std::string schedulers_body(const std::vector<SchedulerReading>& readings, const PoolReport& report, PoolTime now);

std::string_view model_state_name(ModelState state);  // "unloaded", "loading", "loaded", "unloading"
std::string load_body(int running_answers);           // {"server_load": N}
std::string version_body(std::string_view version);   // {"version": "…"}

}  // namespace carronade
