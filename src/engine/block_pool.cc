#include "engine/block_pool.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace carronade {

BlockPool::BlockPool(int blocks, int max_idle, std::function<void(BlockId)> on_evict)
    : blocks_(static_cast<size_t>(blocks)), max_idle_(static_cast<size_t>(max_idle)), on_evict_(std::move(on_evict)) {
  for (BlockId block = 0; block < blocks; ++block) free_.insert(free_.end(), block);
}

std::optional<BlockId> BlockPool::allocate() {
  if (free_.empty()) {
    if (idle_.empty()) return std::nullopt;
    evict_oldest();
  }
  const BlockId block = *free_.begin();
  free_.erase(free_.begin());
  at(block).references = 1;
  touched_ = std::max(touched_, static_cast<int>(block) + 1);  // the lowest goes first
  return block;
}

void BlockPool::retain(BlockId block) {
  Block& entry = at(block);
  assert(entry.references > 0 || entry.cached);
  if (entry.references++ == 0) idle_.erase(entry.place);
}

void BlockPool::release(BlockId block) {
  Block& entry = at(block);
  assert(entry.references > 0);
  if (--entry.references > 0) return;
  if (!entry.cached) {
    free_.insert(block);
    return;
  }
  entry.place = idle_.insert(idle_.end(), block);
  if (idle_.size() > max_idle_) evict_oldest();
}

void BlockPool::set_cached(BlockId block) {
  assert(at(block).references > 0);
  at(block).cached = true;
}

void BlockPool::evict_oldest() {
  const BlockId block = idle_.front();
  idle_.pop_front();
  at(block).cached = false;
  free_.insert(block);
  on_evict_(block);
}

bool BlockPool::balanced(const std::vector<BlockId>& holdings) const {
  std::vector<int> held(blocks_.size());
  for (const BlockId block : holdings) ++held[static_cast<size_t>(block)];
  std::vector<int> listed(blocks_.size());
  for (const BlockId block : free_) ++listed[static_cast<size_t>(block)];
  for (const BlockId block : idle_) ++listed[static_cast<size_t>(block)];
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (blocks_[i].references != held[i]) return false;
    if (listed[i] != (held[i] == 0 ? 1 : 0)) return false;
  }
  return true;
}

}  // namespace carronade
