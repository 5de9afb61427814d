// Memory for packed weights and KV blocks: aligned, zeroed, on huge pages where the system has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace carronade::cpu {

// A zeroed anonymous mapping. From 2 MiB on it asks for huge pages (a decode step walks the whole of the weights: with
// 4 KiB pages it waits for the TLB). Pages come when first touched. Throws Error{kUnavailable}.
class HugeMemory {
 public:
  HugeMemory() = default;
  explicit HugeMemory(size_t bytes);
  ~HugeMemory();
  HugeMemory(HugeMemory&& other) noexcept;
  HugeMemory& operator=(HugeMemory&& other) noexcept;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;  // at a page's border
  size_t size_ = 0;
  void* mapping_ = nullptr;
  size_t mapping_size_ = 0;
};

// A piece of a region; the region is given back when its last piece goes.
struct Piece {
  std::shared_ptr<HugeMemory> region;
  std::byte* data = nullptr;
  size_t size = 0;
};

// Cuts pieces one after another from regions, so that small weights share huge pages. One thread.
class Arena {
 public:
  Piece allocate(size_t bytes);  // zeroed, 64-byte aligned

 private:
  std::shared_ptr<HugeMemory> region_;
  size_t used_ = 0;
};

}  // namespace carronade::cpu
