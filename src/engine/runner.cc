#include "engine/runner.h"

namespace carronade {

const std::vector<RequestId>& Runner::run(const Plan& plan) {
  batch_.clear();
  outputs_.clear();
  for (const PlannedRows& planned : plan) {
    const Sequence& sequence = *planned.sequence;
    batch_.sequences.push_back({.first_row = batch_.rows(),
                                .rows = planned.rows,
                                .first_position = planned.first,
                                .block_table = sequence.blocks,
                                .adapter = sequence.scope.adapter});
    for (int position = planned.first; position < planned.first + planned.rows; ++position) {
      batch_.tokens.push_back(sequence.tokens[static_cast<size_t>(position)]);
      batch_.positions.push_back(position);
    }
    if (planned.output) {
      batch_.output_rows.push_back(batch_.rows() - 1);
      outputs_.push_back(sequence.id);
    }
  }
  model_.forward(batch_);
  return outputs_;
}

}  // namespace carronade
