#include "engine/scheduler.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace carronade {
namespace {

size_t blocks_for(int positions) { return static_cast<size_t>((positions + kBlockPositions - 1) / kBlockPositions); }

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options),
      pool_(options.blocks, options.max_idle_blocks, [this](BlockId block) { cache_.forget(block); }) {
  assert(options.max_num_batched_tokens > options.max_num_seqs);
}

Sequence& Scheduler::add(std::unique_ptr<Sequence> sequence) {
  Sequence& added = *sequence;
  assert(added.length() > 0 && blocks_for(added.length()) <= static_cast<size_t>(pool_.total()));
  waiting_.push_back(&added);
  sequences_.emplace(added.id, std::move(sequence));
  return added;
}

const Plan& Scheduler::step(int prefill_rows) {
  admit();
  grow();
  plan(prefill_rows);
  return plan_;
}

// From the queue's head, while there is a seat and blocks for the whole prompt: once admitted, reading a prompt never
// waits for memory.
void Scheduler::admit() {
  while (!waiting_.empty() && running() < options_.max_num_seqs && try_admit(*waiting_.front())) {
    running_.push_back(waiting_.front());
    waiting_.pop_front();
  }
}

bool Scheduler::try_admit(Sequence& sequence) {
  PrefixCache::Match match;
  if (options_.prefix_cache) {
    // The last token is computed anew in any case: its logits are wanted.
    match = cache_.match(sequence.scope, std::span(sequence.tokens).first(sequence.tokens.size() - 1));
  }
  for (const BlockId block : match.blocks) pool_.retain(block);
  // One block to spare for each who runs, lest the newcomer be preempted at once.
  const size_t needed = blocks_for(sequence.length()) - match.blocks.size();
  if (needed + running_.size() > static_cast<size_t>(pool_.available())) {
    for (auto block = match.blocks.rbegin(); block != match.blocks.rend(); ++block) pool_.release(*block);
    return false;
  }
  sequence.computed = static_cast<int>(match.blocks.size()) * kBlockPositions;
  sequence.chained = match.blocks.size();
  if (!match.links.empty()) sequence.link = match.links.back();
  if (!sequence.admitted_before) sequence.cached_tokens = sequence.computed;
  sequence.admitted_before = true;
  sequence.blocks = std::move(match.blocks);
  const bool extended = extend(sequence);
  assert(extended);
  (void)extended;
  return true;
}

// Blocks for the tokens that came since the last step, the longest-running first.
void Scheduler::grow() {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (!extend(sequence)) preempt(sequence);
  }
}

// Frees the youngest until the starved one can grow. It may be the youngest itself; alone, it fits (add() says so).
void Scheduler::preempt(Sequence& starved) {
  for (;;) {
    Sequence& victim = *running_.back();
    running_.pop_back();
    release_blocks(victim);
    ++victim.preemptions;
    ++preemptions_;
    waiting_.push_front(&victim);
    if (&victim == &starved || extend(starved)) return;
  }
}

// First a row for every stream that is being written, then prompts in the order of their coming.
void Scheduler::plan(int prefill_rows) {
  plan_.clear();
  int left = options_.max_num_batched_tokens;
  const auto take = [&](Sequence& sequence, int most) {
    const int rows = std::min({sequence.pending(), most, left});
    if (rows <= 0) return 0;
    plan_.push_back({&sequence, sequence.computed, rows, rows == sequence.pending()});
    left -= rows;
    return rows;
  };
  const auto is_prefill = [](const Sequence& sequence) {
    return sequence.computed < sequence.prompt_tokens || sequence.pending() > kBlockPositions;
  };
  for (Sequence* sequence : running_) {
    if (!is_prefill(*sequence)) take(*sequence, left);
  }
  int prefill_left = std::max(1, prefill_rows);
  for (Sequence* sequence : running_) {
    if (is_prefill(*sequence)) prefill_left -= take(*sequence, prefill_left);
  }
}

void Scheduler::commit() {
  for (const PlannedRows& rows : plan_) {
    rows.sequence->computed += rows.rows;
    if (options_.prefix_cache) tell_cache(*rows.sequence);
  }
  plan_.clear();
}

void Scheduler::tell_cache(Sequence& sequence) {
  const size_t full = static_cast<size_t>(sequence.computed / kBlockPositions);
  for (; sequence.chained < full; ++sequence.chained) {
    const auto tokens = std::span(sequence.tokens).subspan(sequence.chained * kBlockPositions).first<kBlockPositions>();
    const BlockId block = sequence.blocks[sequence.chained];
    const PrefixCache::Inserted inserted = cache_.insert(sequence.scope, sequence.link, tokens, block);
    sequence.link = inserted.link;
    if (inserted.is_new) pool_.set_cached(block);
  }
}

bool Scheduler::extend(Sequence& sequence) {
  const size_t needed = blocks_for(sequence.length());
  while (sequence.blocks.size() < needed) {
    const std::optional<BlockId> block = pool_.allocate();
    if (!block) return false;
    sequence.blocks.push_back(*block);
  }
  return true;
}

// From its end on, so that of an idle chain the tail is given up first.
void Scheduler::release_blocks(Sequence& sequence) {
  for (auto block = sequence.blocks.rbegin(); block != sequence.blocks.rend(); ++block) pool_.release(*block);
  sequence.blocks.clear();
  sequence.computed = 0;
  sequence.chained = 0;
  sequence.link = PrefixCache::kRoot;
}

void Scheduler::remove(Sequence& sequence) {
  assert(plan_.empty());
  release_blocks(sequence);
  std::erase(running_, &sequence);
  std::erase(waiting_, &sequence);
  sequences_.erase(sequence.id);
}

bool Scheduler::books_balance() const {
  std::vector<BlockId> holdings;
  for (const auto& [id, sequence] : sequences_)
    holdings.insert(holdings.end(), sequence->blocks.begin(), sequence->blocks.end());
  return pool_.balanced(holdings) && sequences_.size() == running_.size() + waiting_.size();
}

}  // namespace carronade
