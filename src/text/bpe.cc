#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <climits>
#include <cstring>
#include <functional>

#include "text/vocabulary.h"

namespace carronade {

MergeTable::MergeTable(size_t expected) {
  const size_t size = std::bit_ceil(std::max<size_t>(16, expected * 2));  // at most half full
  entries_.assign(size, Entry{kEmpty, 0, 0});
  mask_ = size - 1;
  shift_ = 64 - std::countr_zero(size);
}

void MergeTable::insert(TokenId left, TokenId right, int32_t rank, TokenId result) {
  const uint64_t pair = static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  size_t i = slot(pair);
  while (entries_[i].pair != kEmpty && entries_[i].pair != pair) i = (i + 1) & mask_;
  entries_[i] = {pair, rank, result};
}

namespace {

constexpr int32_t kNoMerge = INT_MAX;

// Up to here a scan for the lowest rank (4 a cycle with SSE2) and a short memmove cost less than a heap's cache misses
// and branches.
constexpr size_t kShort = 96;

}  // namespace

void Merger::merge(std::vector<TokenId>& symbols) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShort) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
}

void Merger::merge_short(std::vector<TokenId>& symbols) {
  size_t n = symbols.size();
  if (ranks_.size() < kShort) {
    ranks_.resize(kShort);
    results_.resize(kShort);
  }
  TokenId* ids = symbols.data();
  int32_t* ranks = ranks_.data();
  TokenId* results = results_.data();
  const auto rate = [&](size_t i) {
    const MergeTable::Entry* entry = table_.find(ids[i], ids[i + 1]);
    ranks[i] = entry ? entry->rank : kNoMerge;
    results[i] = entry ? entry->result : 0;
  };
  for (size_t i = 0; i + 1 < n; ++i) rate(i);
  while (n > 1) {
    int32_t best = kNoMerge;
    for (size_t i = 0; i + 1 < n; ++i) best = std::min(best, ranks[i]);
    if (best == kNoMerge) break;
    const size_t at = static_cast<size_t>(std::find(ranks, ranks + n - 1, best) - ranks);
    ids[at] = results[at];
    std::memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof(TokenId));
    if (at + 2 < n) {
      std::memmove(ranks + at, ranks + at + 1, (n - at - 2) * sizeof(int32_t));
      std::memmove(results + at, results + at + 1, (n - at - 2) * sizeof(TokenId));
    }
    --n;
    if (at + 1 < n) rate(at);
    if (at > 0) rate(at - 1);
  }
  symbols.resize(n);
}

void Merger::merge_long(std::vector<TokenId>& symbols) {
  const auto n = static_cast<uint32_t>(symbols.size());
  previous_.resize(n);
  next_.resize(n);
  ranks_.resize(n);
  results_.resize(n);
  heap_.clear();
  for (uint32_t i = 0; i < n; ++i) {
    previous_[i] = i - 1;  // wraps round at the start, which is never asked for
    next_[i] = i + 1;
  }
  const auto rate = [&](uint32_t i) {
    const MergeTable::Entry* entry = next_[i] < n ? table_.find(symbols[i], symbols[next_[i]]) : nullptr;
    ranks_[i] = entry ? entry->rank : kNoMerge;
    if (!entry) return false;
    results_[i] = entry->result;
    heap_.push_back(static_cast<uint64_t>(entry->rank) << 32 | i);
    return true;
  };
  for (uint32_t i = 0; i < n; ++i) rate(i);
  std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
  const auto push = [&](uint32_t i) {
    if (rate(i)) std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  };
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    const auto i = static_cast<uint32_t>(heap_.back());
    const auto rank = static_cast<int32_t>(heap_.back() >> 32);
    heap_.pop_back();
    if (ranks_[i] != rank) continue;  // one of the two has been merged since
    const uint32_t gone = next_[i];
    symbols[i] = results_[i];
    next_[i] = next_[gone];
    if (next_[i] < n) previous_[next_[i]] = i;
    ranks_[gone] = kNoMerge;
    push(i);
    if (i > 0) push(previous_[i]);
  }
  size_t out = 0;
  for (uint32_t i = 0; i < n; i = next_[i]) symbols[out++] = symbols[i];
  symbols.resize(out);
}

WordCache::WordCache(size_t text_bytes) {
  // A word is about six bytes; more than 8192 entries (256 KB) would leave the second-level cache.
  const size_t size = std::bit_ceil(std::clamp<size_t>(text_bytes / 6, 16, 8192));
  entries_.resize(size);
  shift_ = 64 - std::countr_zero(size);
}

WordCache::Entry& WordCache::slot(std::string_view word) { return entries_[hash_bytes(word) >> shift_]; }

}  // namespace carronade
