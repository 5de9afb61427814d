// Memory of the reference backend, unreadable outside its ops in debug builds, as a GPU's memory would be: a room that
// peeks crashes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace carronade::reference {

// A zeroed region that becomes resident only where it is touched. Move-only; used by one thread.
class GuardedMemory {
 public:
  GuardedMemory() = default;
  // Adds its bytes to `counter` while it lives. Throws Error{kUnavailable}.
  GuardedMemory(size_t bytes, uint64_t& counter);
  ~GuardedMemory();
  GuardedMemory(GuardedMemory&& other) noexcept;
  GuardedMemory& operator=(GuardedMemory&& other) noexcept;
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  size_t size() const { return size_; }
  std::byte* bytes() const { return data_; }
  float* floats() const { return reinterpret_cast<float*>(data_); }

 private:
  friend class Access;
  void open() const;
  void close() const;
  void release() noexcept;

  std::byte* data_ = nullptr;
  size_t size_ = 0;
  uint64_t* counter_ = nullptr;
  mutable int openings_ = 0;
};

// For its scope the regions may be read and written; null pointers are skipped, and a region may appear twice.
class Access {
 public:
  Access(std::initializer_list<const GuardedMemory*> regions);
  ~Access();
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;

 private:
  static constexpr int kMaxRegions = 12;  // the most an op touches: qkv_rope_store's eleven
  const GuardedMemory* regions_[kMaxRegions];
  int count_ = 0;
};

}  // namespace carronade::reference
