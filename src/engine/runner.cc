#include "engine/runner.h"

namespace carronade {

void Runner::run(const Plan& plan) {
  batch_.clear();
  for (const PlannedRows& planned : plan) {
    const Sequence& sequence = *planned.sequence;
    batch_.sequences.push_back({.first_row = batch_.rows(),
                                .rows = planned.rows,
                                .first_position = planned.first,
                                .block_table = sequence.blocks,
                                .adapter = sequence.scope.adapter});
    for (int position = planned.first; position < planned.first + planned.rows; ++position) {
      const auto at = static_cast<size_t>(position);
      batch_.tokens.push_back(at < sequence.tokens.size() ? sequence.tokens[at]
                                                          : sequence.drafts[at - sequence.tokens.size()]);
      batch_.positions.push_back(position);
    }
    for (int i = planned.outputs; i > 0; --i) batch_.output_rows.push_back(batch_.rows() - i);
  }
  model_.forward(batch_);
}

}  // namespace carronade
