// Who runs in the next step. Integers only: no model, no clock, so that tests replay it by script.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "engine/block_pool.h"
#include "engine/cold_blocks.h"
#include "engine/fair_queue.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"

namespace carronade {

// A request's running state. tokens[0 … computed) have their keys and values in `blocks`.
struct Sequence {
  RequestId id = 0;
  Tenant tenant;
  PrefixScope scope;
  std::vector<TokenId> tokens;  // prompt, then answer
  int prompt_tokens = 0;
  int cached_tokens = 0;             // of the prompt, found in the prefix cache when it was first admitted
  bool wants_prompt_logits = false;  // every row of the prompt gives logits: nothing of it is taken from the cache
  std::vector<TokenId> drafts;       // guesses at what follows `tokens`, for the next step alone

  // The scheduler's own:
  std::vector<BlockId> blocks;
  int computed = 0;
  int preemptions = 0;
  bool admitted_before = false;
  size_t chained = 0;  // blocks that the prefix cache has been told of
  PrefixCache::Link link = PrefixCache::kRoot;
  BlockDigest digest{};  // of the last of them

  int length() const { return static_cast<int>(tokens.size()); }
  int pending() const { return length() - computed; }  // tokens not yet computed
};

struct SchedulerOptions {
  int max_num_seqs = 1;
  int max_num_batched_tokens = 16;
  int max_outputs = 0;  // rows of a step that may have logits; 0: max_num_seqs
  int blocks = 1;
  bool prefix_cache = true;
  int max_idle_blocks = 1 << 30;  // kept for the prefix cache alone
  ColdBlocks* cold = nullptr;     // where evicted blocks go, with the prefix cache only; outlives the scheduler
};

// Of a sequence's tokens, then its drafts, `rows` run in this step, from `first` on. Logits follow the last `outputs`
// of them.
struct PlannedRows {
  Sequence* sequence;
  int first;
  int rows;
  int outputs;
};
using Plan = std::vector<PlannedRows>;

// Phases in call order: admit → grow → preempt → plan → commit. Owns every sequence, on the engine's thread.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // To the end of its tenant's line. The sequence must fit into the pool alone: length() and its answer at most
  // blocks * 16.
  Sequence& add(std::unique_ptr<Sequence> sequence);

  // The plan of the next step. At most `prefill_rows` rows (and at least one) go to prompts, so that nobody's stream
  // waits for long. Empty only when there is no sequence.
  const Plan& step(int prefill_rows);

  // The plan's rows have been computed. Call before append() and remove().
  void commit();

  // The plan came to nothing.
  void abandon();

  // Between commit() and the next step(): what follows the sequence's tokens. A draft that proved right has been
  // computed already.
  void append(Sequence& sequence, TokenId token) { sequence.tokens.push_back(token); }
  void append_computed(Sequence& sequence, TokenId token) {
    sequence.tokens.push_back(token);
    ++sequence.computed;
  }
  void remove(Sequence& sequence);  // ended, for whatever reason: its blocks go back

  // Hands everything that the prefix cache knows to the cold blocks, what was used longest ago first.
  void save_idle_blocks();

  bool empty() const { return sequences_.empty(); }
  int running() const { return static_cast<int>(running_.size()); }
  int waiting() const { return queue_.size(); }
  const std::vector<Sequence*>& running_sequences() const { return running_; }
  std::vector<const Sequence*> waiting_sequences() const;  // in the order of their turn, background work last
  const FairShares& shares() const { return shares_; }
  const BlockPool& pool() const { return pool_; }
  uint64_t preemptions() const { return preemptions_; }
  bool books_balance() const;  // every block counted once

 private:
  void admit();
  void grow();
  void preempt(Sequence& starved);
  void plan(int prefill_rows);

  bool seat(Sequence& sequence);
  bool try_admit(Sequence& sequence);
  bool waits_for_prefix(const Sequence& sequence) const;
  PrefixCache::Match match(const Sequence& sequence) const;
  Sequence* youngest_background() const;
  void send_back(Sequence& victim);
  bool extend(Sequence& sequence);  // blocks for all its tokens; false: the pool is empty
  std::vector<Sequence*> prompts_in_turn() const;
  void release_blocks(Sequence& sequence);
  void load_cold_blocks(Sequence& sequence);
  void tell_cache(Sequence& sequence);
  void evicted(BlockId block);
  static ColdBlocks::Tokens block_tokens(const Sequence& sequence, size_t block);
  BlockDigest next_digest(const Sequence& sequence) const;

  SchedulerOptions options_;
  PrefixCache cache_;
  BlockPool pool_;
  std::map<RequestId, std::unique_ptr<Sequence>> sequences_;
  FairShares shares_;
  FairQueue queue_{shares_};
  std::vector<Sequence*> running_;  // in order of admission
  Plan plan_;
  uint64_t preemptions_ = 0;
};

}  // namespace carronade
