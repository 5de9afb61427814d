// A plan → a batch → the model's forward pass.
#pragma once

#include <vector>

#include "backend/batch.h"
#include "engine/scheduler.h"
#include "model/model.h"

namespace carronade {

// On the engine's thread.
class Runner {
 public:
  explicit Runner(Model& model) : model_(model) {}

  // Runs the plan. Logits row i belongs to the i-th of the returned requests.
  const std::vector<RequestId>& run(const Plan& plan);

 private:
  Model& model_;
  Batch batch_;
  std::vector<RequestId> outputs_;
};

}  // namespace carronade
