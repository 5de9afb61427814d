// The scheduler as it stands between two steps, for operators: who runs, who waits, and what they hold. Numbers only.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/request.h"

namespace carronade {

struct SequenceSnapshot {
  enum class Phase : uint8_t { kWaiting, kPrefill, kDecode };

  RequestId id = 0;
  Tenant tenant;
  int adapter = -1;
  Phase phase = Phase::kWaiting;
  int prompt_tokens = 0, cached_tokens = 0;
  int computed = 0;  // tokens with keys and values
  int generated = 0;
  int max_tokens = 0;  // 0: up to the context's end
  int blocks = 0;
  int preemptions = 0;
  double age = 0;                     // seconds since its submission
  double draft_rate = 0;              // the chance that the next draft holds, as far as is known
  std::optional<double> deadline_in;  // seconds
};

struct TenantSnapshot {
  uint64_t id = 0;
  double served = 0;  // rows over weight: the least goes first
  int sequences = 0;  // waiting or running
};

struct StepSnapshot {
  int sequences = 0, prompt_rows = 0, decode_rows = 0, draft_rows = 0;
  double seconds = 0;
  double age = 0;  // seconds since its end
};

struct EngineSnapshot {
  std::vector<SequenceSnapshot> running;  // in the order of admission
  std::vector<SequenceSnapshot> waiting;  // in the order of their turn
  std::vector<TenantSnapshot> tenants;

  int max_num_seqs = 0, max_num_batched_tokens = 0, max_model_len = 0, max_waiting = 0;
  double seconds_per_prompt_row = 0;                          // as measured
  int prompt_rows_alone = 0, prompt_rows_beside_streams = 0;  // that the next step may take
  uint64_t steps = 0, preemptions = 0;
  std::optional<StepSnapshot> last_step;

  int blocks_total = 0, blocks_used = 0, blocks_cached = 0, blocks_free = 0;
  int blocks_touched = 0;  // ever used: their memory is resident
  int block_positions = 0;
  bool books_balance = false;  // every block is in one state and held by those who list it

  int speculative_tokens = 0;  // at most, a step and sequence; 0: no guessing
  uint64_t draft_tokens = 0, accepted_draft_tokens = 0;

  struct Disk {
    uint64_t capacity = 0, bytes = 0, blocks = 0;
    uint64_t written = 0, read = 0, damaged = 0, dropped = 0;  // blocks since the start
  };
  std::optional<Disk> kv_disk;
};

}  // namespace carronade
