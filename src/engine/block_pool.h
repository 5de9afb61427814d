// The books of the KV cache: which block is free, who holds it, and which idle blocks still hold a prefix worth
// keeping. No memory here, only numbers.
#pragma once

#include <functional>
#include <list>
#include <optional>
#include <set>
#include <vector>

#include "backend/batch.h"

namespace carronade {

// Every block is in exactly one state: free, held (references > 0), or idle (no holder, but a prefix cache knows its
// content). Owned by the scheduler, on the engine's thread.
class BlockPool {
 public:
  // At most `max_idle` blocks are kept idle, so that memory once touched is touched again before more becomes resident.
  // `on_evict` hears of every idle block whose content is given up.
  BlockPool(int blocks, int max_idle, std::function<void(BlockId)> on_evict);

  int total() const { return static_cast<int>(blocks_.size()); }
  int available() const { return static_cast<int>(free_.size() + idle_.size()); }  // what allocate() can still give
  int held() const { return total() - available(); }
  int idle() const { return static_cast<int>(idle_.size()); }
  int touched() const { return touched_; }                         // blocks ever given out: their memory is resident
  const std::list<BlockId>& idle_blocks() const { return idle_; }  // least recently used first
  int references(BlockId block) const { return at(block).references; }

  // The lowest free block, else the idle one unused for longest. nullopt: all are held.
  std::optional<BlockId> allocate();
  void retain(BlockId block);      // of a held or idle block
  void release(BlockId block);     // the last holder's release makes it idle when cached, else free
  void set_cached(BlockId block);  // a prefix cache knows what this held block holds

  // Our own bugs only: every block in one state, as often held as `holdings` lists it.
  bool balanced(const std::vector<BlockId>& holdings) const;

 private:
  struct Block {
    int references = 0;
    bool cached = false;
    std::list<BlockId>::iterator place;  // in idle_, when idle
  };
  const Block& at(BlockId block) const { return blocks_[static_cast<size_t>(block)]; }
  Block& at(BlockId block) { return blocks_[static_cast<size_t>(block)]; }
  void evict_oldest();

  std::vector<Block> blocks_;
  std::set<BlockId> free_;
  std::list<BlockId> idle_;  // least recently used first
  size_t max_idle_;
  int touched_ = 0;
  std::function<void(BlockId)> on_evict_;
};

}  // namespace carronade
