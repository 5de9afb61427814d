#include "engine/scheduler.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace carronade {
namespace {

size_t blocks_for(int positions) { return static_cast<size_t>((positions + kBlockPositions - 1) / kBlockPositions); }

bool is_background(const Sequence& sequence) { return sequence.tenant.priority == Tenant::Priority::kBackground; }

bool is_prefill(const Sequence& sequence) {
  return sequence.computed < sequence.prompt_tokens || sequence.pending() > kBlockPositions;
}

size_t common_blocks(const Sequence& a, const Sequence& b) {
  const size_t most = std::min(a.tokens.size(), b.tokens.size());
  const auto differ =
      std::mismatch(a.tokens.begin(), a.tokens.begin() + static_cast<std::ptrdiff_t>(most), b.tokens.begin());
  return static_cast<size_t>(differ.first - a.tokens.begin()) / kBlockPositions;
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), pool_(options.blocks, options.max_idle_blocks, [this](BlockId block) { evicted(block); }) {
  assert(options.max_num_batched_tokens > options.max_num_seqs);
  options_.max_outputs = std::max(options.max_outputs, options.max_num_seqs);
}

Sequence& Scheduler::add(std::unique_ptr<Sequence> sequence) {
  Sequence& added = *sequence;
  assert(added.length() > 0 && blocks_for(added.length()) <= static_cast<size_t>(pool_.total()));
  shares_.arrive(added.tenant);
  queue_.push_back(added);
  sequences_.emplace(added.id, std::move(sequence));
  return added;
}

const Plan& Scheduler::step(int prefill_rows) {
  admit();
  grow();
  plan(prefill_rows);
  return plan_;
}

// In turn, while there is a seat and blocks for the whole prompt: once admitted, reading a prompt never waits for
// memory. Nobody overtakes one that waits for blocks, or long prompts would wait for ever.
void Scheduler::admit() {
  if (queue_.empty() || (running() >= options_.max_num_seqs && !youngest_background())) return;
  for (Sequence* sequence : queue_.order()) {
    if (waits_for_prefix(*sequence)) continue;
    if (!seat(*sequence)) return;
    queue_.admitted(*sequence);
    running_.push_back(sequence);
  }
}

// Background work makes room for whoever else waits.
bool Scheduler::seat(Sequence& sequence) {
  for (;;) {
    if (running() < options_.max_num_seqs && try_admit(sequence)) return true;
    Sequence* victim = is_background(sequence) ? nullptr : youngest_background();
    if (!victim) return false;
    send_back(*victim);
  }
}

Sequence* Scheduler::youngest_background() const {
  const auto found =
      std::find_if(running_.rbegin(), running_.rend(), [](const Sequence* running) { return is_background(*running); });
  return found == running_.rend() ? nullptr : *found;
}

PrefixCache::Match Scheduler::match(const Sequence& sequence) const {
  if (!options_.prefix_cache || sequence.wants_prompt_logits) return {};
  // The last token is computed anew in any case: its logits are wanted.
  return cache_.match(sequence.scope, std::span(sequence.tokens).first(sequence.tokens.size() - 1));
}

// Another is reading the same beginning right now: it is read once, and shared (several answers to one prompt, the same
// question from a class of students).
bool Scheduler::waits_for_prefix(const Sequence& sequence) const {
  if (!options_.prefix_cache || sequence.wants_prompt_logits) return false;
  size_t best = 0;
  for (const Sequence* running : running_) {
    if (running->scope == sequence.scope && is_prefill(*running))
      best = std::max(best, common_blocks(sequence, *running));
  }
  if (best == 0) return false;
  best = std::min(best, static_cast<size_t>(sequence.length() - 1) / kBlockPositions);
  return match(sequence).blocks.size() < best;
}

bool Scheduler::try_admit(Sequence& sequence) {
  PrefixCache::Match found = match(sequence);
  for (const BlockId block : found.blocks) pool_.retain(block);
  // One block to spare for each who runs, lest the newcomer be preempted at once.
  const size_t needed = blocks_for(sequence.length()) - found.blocks.size();
  if (needed + running_.size() > static_cast<size_t>(pool_.available())) {
    for (auto block = found.blocks.rbegin(); block != found.blocks.rend(); ++block) pool_.release(*block);
    return false;
  }
  sequence.computed = static_cast<int>(found.blocks.size()) * kBlockPositions;
  sequence.chained = found.blocks.size();
  if (!found.links.empty()) sequence.link = found.links.back();
  if (options_.cold) sequence.digest = found.links.empty() ? options_.cold->root(sequence.scope) : found.digest;
  sequence.blocks = std::move(found.blocks);
  const bool extended = extend(sequence);
  assert(extended);
  (void)extended;
  load_cold_blocks(sequence);
  if (!sequence.admitted_before) sequence.cached_tokens = sequence.computed;
  sequence.admitted_before = true;
  return true;
}

// Blocks for the tokens that came since the last step, the longest-running first.
void Scheduler::grow() {
  for (size_t i = 0; i < running_.size();) {
    Sequence& sequence = *running_[i];
    if (extend(sequence)) {
      ++i;
    } else {
      preempt(sequence);
      i = 0;  // who stands where has changed; those served already need nothing more
    }
  }
}

// Frees the youngest, of background work first, until the starved one can grow. It may be the victim itself; alone, it
// fits (add() says so).
void Scheduler::preempt(Sequence& starved) {
  for (;;) {
    Sequence* background = youngest_background();
    Sequence& victim = background ? *background : *running_.back();
    send_back(victim);
    if (&victim == &starved || extend(starved)) return;
  }
}

void Scheduler::send_back(Sequence& victim) {
  std::erase(running_, &victim);
  release_blocks(victim);
  ++victim.preemptions;
  ++preemptions_;
  queue_.push_front(victim);
}

// First a row for every stream that is being written, then its drafts, then prompts: between tenants those served
// least, else in the order of their coming.
void Scheduler::plan(int prefill_rows) {
  plan_.clear();
  int rows_left = options_.max_num_batched_tokens, outputs_left = options_.max_outputs;
  // Drafts take what is left when everyone has had a row.
  int drafts_left = std::min(rows_left, outputs_left) - running();
  for (Sequence* sequence : running_) {
    if (is_prefill(*sequence)) continue;
    const int drafts = std::clamp(static_cast<int>(sequence->drafts.size()), 0, std::max(0, drafts_left));
    sequence->drafts.resize(static_cast<size_t>(sequence->pending() + drafts <= rows_left ? drafts : 0));
    const int rows = std::min(sequence->pending() + static_cast<int>(sequence->drafts.size()), rows_left);
    const int outputs = rows >= sequence->pending() ? 1 + static_cast<int>(sequence->drafts.size()) : 0;
    if (rows > 0) plan_.push_back({sequence, sequence->computed, rows, outputs});
    drafts_left -= static_cast<int>(sequence->drafts.size());
    rows_left -= rows;
    outputs_left -= outputs;
  }
  int prefill_left = std::max(1, prefill_rows);
  for (Sequence* sequence : prompts_in_turn()) {
    int rows = std::min({sequence->pending(), prefill_left, rows_left});
    if (sequence->wants_prompt_logits) rows = std::min(rows, outputs_left);
    if (rows <= 0) continue;
    const bool whole = rows == sequence->pending();
    const int outputs = sequence->wants_prompt_logits && sequence->computed < sequence->prompt_tokens ? rows : whole;
    if (outputs > outputs_left) continue;
    plan_.push_back({sequence, sequence->computed, rows, outputs});
    prefill_left -= rows;
    rows_left -= rows;
    outputs_left -= outputs;
  }
}

std::vector<Sequence*> Scheduler::prompts_in_turn() const {
  std::vector<Sequence*> prompts;
  std::copy_if(running_.begin(), running_.end(), std::back_inserter(prompts),
               [](const Sequence* running) { return is_prefill(*running); });
  std::stable_sort(prompts.begin(), prompts.end(), [&](const Sequence* a, const Sequence* b) {
    if (a->tenant.priority != b->tenant.priority) return a->tenant.priority < b->tenant.priority;
    return a->tenant.id != b->tenant.id && shares_.served(a->tenant) < shares_.served(b->tenant);
  });
  return prompts;
}

void Scheduler::commit() {
  for (const PlannedRows& planned : plan_) {
    Sequence& sequence = *planned.sequence;
    shares_.charge(sequence.tenant, planned.rows);
    sequence.computed = std::min(planned.first + planned.rows, sequence.length());
    if (options_.prefix_cache) tell_cache(sequence);
  }
  plan_.clear();
}

void Scheduler::abandon() { plan_.clear(); }

void Scheduler::tell_cache(Sequence& sequence) {
  const size_t full = static_cast<size_t>(sequence.computed / kBlockPositions);
  for (; sequence.chained < full; ++sequence.chained) {
    const BlockId block = sequence.blocks[sequence.chained];
    const BlockDigest digest = next_digest(sequence);
    const PrefixCache::Inserted inserted =
        cache_.insert(sequence.scope, sequence.link, block_tokens(sequence, sequence.chained), block, digest);
    sequence.link = inserted.link;
    sequence.digest = digest;
    if (inserted.is_new) pool_.set_cached(block);
  }
}

ColdBlocks::Tokens Scheduler::block_tokens(const Sequence& sequence, size_t block) {
  return std::span(sequence.tokens).subspan(block * kBlockPositions).first<kBlockPositions>();
}

BlockDigest Scheduler::next_digest(const Sequence& sequence) const {
  return options_.cold ? options_.cold->next(sequence.digest, block_tokens(sequence, sequence.chained)) : BlockDigest{};
}

// Behind what the cache knows, what was kept elsewhere; up to the last token, which is computed anew.
void Scheduler::load_cold_blocks(Sequence& sequence) {
  if (!options_.cold || !options_.prefix_cache || sequence.wants_prompt_logits) return;
  const size_t most = static_cast<size_t>(sequence.length() - 1) / kBlockPositions;
  while (sequence.chained < most && options_.cold->load(next_digest(sequence), block_tokens(sequence, sequence.chained),
                                                        sequence.blocks[sequence.chained])) {
    sequence.computed += kBlockPositions;
    tell_cache(sequence);
  }
}

void Scheduler::evicted(BlockId block) {
  if (options_.cold) {
    const PrefixCache::Content content = cache_.content(block);
    options_.cold->save(content.digest, content.tokens, block);
  }
  cache_.forget(block);
}

void Scheduler::save_idle_blocks() {
  if (!options_.cold) return;
  for (const BlockId block : pool_.idle_blocks()) {
    const PrefixCache::Content content = cache_.content(block);
    options_.cold->save(content.digest, content.tokens, block);
  }
}

bool Scheduler::extend(Sequence& sequence) {
  const size_t needed = blocks_for(sequence.length());
  const auto grow_to = [&](size_t blocks) {
    while (sequence.blocks.size() < blocks) {
      const std::optional<BlockId> block = pool_.allocate();
      if (!block) return false;
      sequence.blocks.push_back(*block);
    }
    return true;
  };
  if (!grow_to(needed)) return false;
  if (!grow_to(blocks_for(sequence.length() + static_cast<int>(sequence.drafts.size())))) sequence.drafts.clear();
  return true;
}

// From its end on, so that of an idle chain the tail is given up first.
void Scheduler::release_blocks(Sequence& sequence) {
  for (auto block = sequence.blocks.rbegin(); block != sequence.blocks.rend(); ++block) pool_.release(*block);
  sequence.blocks.clear();
  sequence.drafts.clear();
  sequence.computed = 0;
  sequence.chained = 0;
  sequence.link = PrefixCache::kRoot;
  sequence.digest = {};
}

void Scheduler::remove(Sequence& sequence) {
  assert(plan_.empty());
  release_blocks(sequence);
  std::erase(running_, &sequence);
  queue_.erase(sequence);
  shares_.leave(sequence.tenant);
  sequences_.erase(sequence.id);
}

std::vector<const Sequence*> Scheduler::waiting_sequences() const {
  const std::vector<Sequence*> in_turn = queue_.order();
  std::vector<const Sequence*> waiting(in_turn.begin(), in_turn.end());
  if (waiting.size() == static_cast<size_t>(queue_.size())) return waiting;
  for (const auto& [id, sequence] : sequences_) {
    const bool runs = std::find(running_.begin(), running_.end(), sequence.get()) != running_.end();
    if (!runs && std::find(in_turn.begin(), in_turn.end(), sequence.get()) == in_turn.end())
      waiting.push_back(sequence.get());
  }
  return waiting;
}

bool Scheduler::books_balance() const {
  std::vector<BlockId> holdings;
  for (const auto& [id, sequence] : sequences_)
    holdings.insert(holdings.end(), sequence->blocks.begin(), sequence->blocks.end());
  return pool_.balanced(holdings) && sequences_.size() == running_.size() + static_cast<size_t>(queue_.size());
}

}  // namespace carronade
