// JSON for operators: the scheduler's state, and vLLM's small answers.
#pragma once

#include <string>
#include <string_view>

#include "engine/snapshot.h"

namespace carronade {

// GET /debug/scheduler. Never holds what was written in a prompt or an answer.
std::string scheduler_body(std::string_view model_name, const EngineSnapshot& snapshot);

std::string load_body(int running_answers);          // {"server_load": N}
std::string version_body(std::string_view version);  // {"version": "…"}

}  // namespace carronade
