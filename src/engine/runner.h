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

  // Runs the plan. Logits rows are in the plan's order, as many for each part as it has outputs.
  void run(const Plan& plan);

 private:
  Model& model_;
  Batch batch_;
};

}  // namespace carronade
