// Who runs in the next step. Integers only: no model, no clock, so that tests replay it by script.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "engine/block_pool.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"

namespace carronade {

// A request's running state. tokens[0 … computed) have their keys and values in `blocks`.
struct Sequence {
  RequestId id = 0;
  PrefixScope scope;
  std::vector<TokenId> tokens;  // prompt, then answer
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of the prompt, found in the prefix cache when it was first admitted

  // The scheduler's own:
  std::vector<BlockId> blocks;
  int computed = 0;
  int preemptions = 0;
  bool admitted_before = false;
  size_t chained = 0;  // blocks that the prefix cache has been told of
  PrefixCache::Link link = PrefixCache::kRoot;

  int length() const { return static_cast<int>(tokens.size()); }
  int pending() const { return length() - computed; }  // tokens not yet computed
};

struct SchedulerOptions {
  int max_num_seqs = 1;
  int max_num_batched_tokens = 16;
  int blocks = 1;
  bool prefix_cache = true;
  int max_idle_blocks = 1 << 30;  // kept for the prefix cache alone
};

// `rows` of a sequence's tokens, from `first` on, run in this step. With `output`, logits follow its last row.
struct PlannedRows {
  Sequence* sequence;
  int first;
  int rows;
  bool output;
};
using Plan = std::vector<PlannedRows>;

// Phases in call order: admit → grow → preempt → plan → commit. Owns every sequence, on the engine's thread.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // To the end of the queue. The sequence must fit into the pool alone: length() and its answer at most blocks * 16.
  Sequence& add(std::unique_ptr<Sequence> sequence);

  // The plan of the next step. At most `prefill_rows` rows (and at least one) go to prompts, so that nobody's stream
  // waits for long. Empty only when there is no sequence.
  const Plan& step(int prefill_rows);

  // The plan's rows have been computed. Call before append() and remove().
  void commit();

  // The plan came to nothing.
  void abandon() { plan_.clear(); }

  void append(Sequence& sequence, TokenId token) { sequence.tokens.push_back(token); }
  void remove(Sequence& sequence);  // ended, for whatever reason: its blocks go back

  bool empty() const { return sequences_.empty(); }
  int running() const { return static_cast<int>(running_.size()); }
  int waiting() const { return static_cast<int>(waiting_.size()); }
  const BlockPool& pool() const { return pool_; }
  uint64_t preemptions() const { return preemptions_; }
  bool books_balance() const;  // every block counted once

 private:
  void admit();
  void grow();
  void preempt(Sequence& starved);
  void plan(int prefill_rows);

  bool try_admit(Sequence& sequence);
  bool extend(Sequence& sequence);  // blocks for all its tokens; false: the pool is empty
  void release_blocks(Sequence& sequence);
  void tell_cache(Sequence& sequence);

  SchedulerOptions options_;
  PrefixCache cache_;
  BlockPool pool_;
  std::map<RequestId, std::unique_ptr<Sequence>> sequences_;
  std::deque<Sequence*> waiting_;   // first come, first served; who was preempted stands in front
  std::vector<Sequence*> running_;  // in order of admission
  Plan plan_;
  uint64_t preemptions_ = 0;
};

}  // namespace carronade
