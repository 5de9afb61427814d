#include "engine/snapshot.h"

#include <utility>

#include "base/log.h"
#include "engine/engine_impl.h"

namespace carronade {
namespace {

SequenceSnapshot snapshot_of(const Active& entry, bool runs, Clock::time_point now) {
  const Sequence& sequence = *entry.sequence;
  SequenceSnapshot result;
  result.id = sequence.id;
  result.tenant = sequence.tenant;
  result.adapter = entry.request.adapter;
  if (runs) {
    const bool reads = sequence.computed < sequence.prompt_tokens;
    result.phase = reads ? SequenceSnapshot::Phase::kPrefill : SequenceSnapshot::Phase::kDecode;
  }
  result.prompt_tokens = sequence.prompt_tokens;
  result.cached_tokens = sequence.cached_tokens;
  result.computed = sequence.computed;
  result.generated = entry.completion_tokens();
  result.max_tokens = entry.request.sampling.max_tokens;
  result.blocks = static_cast<int>(sequence.blocks.size());
  result.preemptions = sequence.preemptions;
  result.age = seconds_between(entry.submitted, now);
  result.draft_rate = entry.gate.rate();
  if (entry.request.deadline) result.deadline_in = seconds_between(now, *entry.request.deadline);
  return result;
}

}  // namespace

// A few microseconds a sequence; the balance of the books, some nanoseconds a block.
EngineSnapshot Engine::Impl::take_snapshot() const {
  const Clock::time_point now = Clock::now();
  EngineSnapshot result;
  for (const Sequence* sequence : scheduler.running_sequences())
    result.running.push_back(snapshot_of(active.at(sequence->id), true, now));
  for (const Sequence* sequence : scheduler.waiting_sequences())
    result.waiting.push_back(snapshot_of(active.at(sequence->id), false, now));
  for (const auto& [id, share] : scheduler.shares().all()) result.tenants.push_back({id, share.served, share.present});

  result.max_num_seqs = options.max_num_seqs;
  result.max_num_batched_tokens = options.max_num_batched_tokens;
  result.max_model_len = options.max_model_len;
  result.max_waiting = options.max_waiting;
  result.seconds_per_prompt_row = pacer.seconds_per_row();
  result.prompt_rows_alone = pacer.prefill_rows(false);
  result.prompt_rows_beside_streams = pacer.prefill_rows(true);
  result.steps = counted.steps;
  result.preemptions = scheduler.preemptions();
  if (counted.steps > 0) {
    result.last_step = last_step;
    result.last_step->age = seconds_between(last_step_end, now);
  }

  const BlockPool& pool = scheduler.pool();
  result.blocks_total = pool.total();
  result.blocks_used = pool.held();
  result.blocks_cached = pool.idle();
  result.blocks_free = pool.available() - pool.idle();
  result.blocks_touched = pool.touched();
  result.block_positions = kBlockPositions;
  result.books_balance = scheduler.books_balance();

  result.speculative_tokens = options.speculative_tokens;
  result.draft_tokens = metrics.draft_tokens.value();
  result.accepted_draft_tokens = metrics.accepted_draft_tokens.value();
  if (kv_disk) {
    const KvDiskStats disk = kv_disk->stats();
    result.kv_disk = {options.kv_disk_bytes, disk.bytes,  disk.blocks, disk.written, disk.read,
                      disk.damaged,          disk.dropped};
  }
  return result;
}

void Engine::Impl::answer_snapshots() {
  std::vector<SnapshotSink> asking;
  {
    const std::lock_guard lock(mutex);
    asking.swap(snapshot_sinks);
  }
  for (const SnapshotSink& sink : asking) {
    try {
      sink(take_snapshot());
    } catch (const std::exception& error) {
      spdlog::error("a snapshot of the scheduler was not taken: {}", error.what());
    }
  }
}

void Engine::snapshot(SnapshotSink sink) {
  const std::lock_guard lock(impl_->mutex);
  impl_->snapshot_sinks.push_back(std::move(sink));
  impl_->wake.notify_one();
}

}  // namespace carronade
