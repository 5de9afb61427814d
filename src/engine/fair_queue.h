// Who is next: waiting sequences by priority, and between tenants of one priority by what each has been served.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "engine/request.h"

namespace carronade {

struct Sequence;

// What each tenant has been served: rows computed for it, over its weight. The tenant with the least goes first.
// Source: the virtual token counter of Sheng et al., "Fairness in Serving Large Language Models" (2024): deficit round
// robin needs to know a job's cost before it runs, and an answer's length is not known.
class FairShares {
 public:
  struct Share {
    double served = 0;  // rows over weight
    int present = 0;    // sequences
  };

  // One more or one fewer sequence of this tenant, waiting or running. Who comes back from being away starts level with
  // the least served of those present: absence earns nothing.
  void arrive(const Tenant& tenant);
  void leave(const Tenant& tenant);

  void charge(const Tenant& tenant, int rows);
  double served(const Tenant& tenant) const;
  const std::map<uint64_t, Share>& all() const { return shares_; }  // by tenant

 private:
  std::map<uint64_t, Share> shares_;  // of tenants present, and of those away until they would start level anyhow
};

// Waiting sequences. First come, first served within a tenant; who was preempted stands in front. Owned by the
// scheduler, on the engine's thread.
class FairQueue {
 public:
  explicit FairQueue(const FairShares& shares) : shares_(shares) {}

  void push_back(Sequence& sequence);
  void push_front(Sequence& sequence);
  void erase(Sequence& sequence);
  int size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // Everyone in the order of their turn, as of now: interactive before normal, but after every kPatience interactive
  // ones the normal one that has waited longest; background only when nothing else waits.
  std::vector<Sequence*> order() const;

  // It was admitted: keeps the count of who went before whom.
  void admitted(Sequence& sequence);

 private:
  static constexpr int kPatience = 4;
  static constexpr size_t kPriorities = 3;
  using Lines = std::map<uint64_t, std::deque<Sequence*>>;  // by tenant

  void append_in_turn(const Lines& lines, std::vector<Sequence*>& out) const;
  Lines& lines_of(const Sequence& sequence);

  const FairShares& shares_;
  std::array<Lines, kPriorities> lines_;
  int size_ = 0;
  int interactive_in_a_row_ = 0;  // admitted while a normal one waited
};

}  // namespace carronade
