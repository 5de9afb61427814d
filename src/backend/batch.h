// One step's work, as plain integers on the host. Prefill chunks, decode rows and drafted tokens are the same thing:
// rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace carronade {

inline constexpr int kBlockPositions = 16;  // KV positions in one block
inline constexpr int kNoAdapter = -1;

using BlockId = int32_t;

// The rows of one sequence in a batch: consecutive rows, consecutive positions.
struct SequenceRows {
  int first_row = 0;
  int rows = 0;
  int first_position = 0;  // position of its first row; keys of all positions before it are in its blocks
  std::span<const BlockId>
      block_table;  // block i holds positions [16 i, 16 i + 16); covers first_position + rows. Lives through the step
  int adapter = kNoAdapter;
};

struct Batch {
  std::vector<int32_t> tokens;          // [rows]
  std::vector<int32_t> positions;       // [rows]
  std::vector<SequenceRows> sequences;  // cover all rows, in order
  std::vector<int32_t>
      output_rows;  // rows that want logits (or pooling), strictly ascending; logits row i belongs to output_rows[i]

  int rows() const { return static_cast<int>(tokens.size()); }
  void clear() {
    tokens.clear();
    positions.clear();
    sequences.clear();
    output_rows.clear();
  }
};

// The rows that want logits as a batch of their own. False where they are not the last rows of their sequences, or
// where there are no others.
inline bool output_rows_alone(const Batch& batch, Batch& alone) {
  if (batch.output_rows.size() == batch.tokens.size()) return false;
  alone.clear();
  auto output = batch.output_rows.begin();
  for (const SequenceRows& sequence : batch.sequences) {
    const int end = sequence.first_row + sequence.rows;
    const auto first = output;
    while (output != batch.output_rows.end() && *output < end) ++output;
    const int count = static_cast<int>(output - first);
    if (count == 0) continue;
    if (*first != end - count) return false;
    SequenceRows last = sequence;
    last.first_row = alone.rows();
    last.first_position += sequence.rows - count;
    last.rows = count;
    alone.sequences.push_back(last);
    for (int row = end - count; row < end; ++row) {
      alone.output_rows.push_back(alone.rows());
      alone.tokens.push_back(batch.tokens[static_cast<size_t>(row)]);
      alone.positions.push_back(batch.positions[static_cast<size_t>(row)]);
    }
  }
  return true;
}

}  // namespace carronade
