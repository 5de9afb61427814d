#include "engine/fair_queue.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "engine/scheduler.h"

namespace carronade {
namespace {

double weight_of(const Tenant& tenant) { return std::max(1e-3, static_cast<double>(tenant.weight)); }

size_t index_of(Tenant::Priority priority) { return static_cast<size_t>(priority); }

constexpr size_t kInteractive = 0, kNormal = 1, kBackground = 2;

}  // namespace

void FairShares::arrive(const Tenant& tenant) {
  Share& share = shares_[tenant.id];
  if (share.present++ > 0) return;
  double least = -1;
  for (const auto& [id, other] : shares_) {
    if (other.present > 0 && id != tenant.id && (least < 0 || other.served < least)) least = other.served;
  }
  share.served = std::max(share.served, least);
  // Forget who is away and would start level.
  std::erase_if(shares_, [&](const auto& entry) { return entry.second.present == 0 && entry.second.served <= least; });
}

void FairShares::leave(const Tenant& tenant) {
  Share& share = shares_.at(tenant.id);
  assert(share.present > 0);
  --share.present;
  const bool all_away =
      std::none_of(shares_.begin(), shares_.end(), [](const auto& entry) { return entry.second.present > 0; });
  if (all_away) shares_.clear();
}

void FairShares::charge(const Tenant& tenant, int rows) {
  shares_.at(tenant.id).served += static_cast<double>(rows) / weight_of(tenant);
}

double FairShares::served(const Tenant& tenant) const {
  const auto found = shares_.find(tenant.id);
  return found == shares_.end() ? 0.0 : found->second.served;
}

FairQueue::Lines& FairQueue::lines_of(const Sequence& sequence) { return lines_[index_of(sequence.tenant.priority)]; }

void FairQueue::push_back(Sequence& sequence) {
  lines_of(sequence)[sequence.tenant.id].push_back(&sequence);
  ++size_;
}

void FairQueue::push_front(Sequence& sequence) {
  lines_of(sequence)[sequence.tenant.id].push_front(&sequence);
  ++size_;
}

void FairQueue::erase(Sequence& sequence) {
  Lines& lines = lines_of(sequence);
  const auto line = lines.find(sequence.tenant.id);
  if (line == lines.end()) return;
  size_ -= static_cast<int>(std::erase(line->second, &sequence));
  if (line->second.empty()) lines.erase(line);
}

// A turn takes the first in line of the least served tenant; the rest of a line counts as if each before it had been
// served its tokens.
void FairQueue::append_in_turn(const Lines& lines, std::vector<Sequence*>& out) const {
  std::vector<std::pair<double, Sequence*>> turns;
  for (const auto& [tenant, line] : lines) {
    double served = shares_.served(line.front()->tenant);
    for (Sequence* sequence : line) {
      turns.emplace_back(served, sequence);
      served += sequence->length() / weight_of(sequence->tenant);
    }
  }
  std::stable_sort(turns.begin(), turns.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second->id < b.second->id;
  });
  for (const auto& [served, sequence] : turns) out.push_back(sequence);
}

std::vector<Sequence*> FairQueue::order() const {
  std::vector<Sequence*> out;
  append_in_turn(lines_[kInteractive], out);
  const auto interactive = static_cast<std::ptrdiff_t>(out.size());
  append_in_turn(lines_[kNormal], out);
  if (out.empty()) append_in_turn(lines_[kBackground], out);
  const bool normal_waits = static_cast<size_t>(interactive) < out.size() && !lines_[kNormal].empty();
  if (normal_waits && interactive_in_a_row_ >= kPatience) {
    // The one that came first, whoever's it is: a tenant whose interactive requests use up its share has others too.
    const auto oldest = std::min_element(out.begin() + interactive, out.end(),
                                         [](const Sequence* a, const Sequence* b) { return a->id < b->id; });
    std::rotate(out.begin(), oldest, oldest + 1);
  }
  return out;
}

void FairQueue::admitted(Sequence& sequence) {
  const bool passes = index_of(sequence.tenant.priority) == kInteractive && !lines_[kNormal].empty();
  interactive_in_a_row_ = passes ? interactive_in_a_row_ + 1 : 0;
  erase(sequence);
}

}  // namespace carronade
