#include "backend/reference/guarded_memory.h"

#include <sys/mman.h>

#include <cassert>
#include <utility>

#include "base/error.h"

namespace carronade::reference {
namespace {

#ifdef NDEBUG
constexpr bool kGuarded = false;
#else
constexpr bool kGuarded = true;
#endif

}  // namespace

GuardedMemory::GuardedMemory(size_t bytes, uint64_t& counter) : size_(bytes) {
  if (bytes == 0) return;
  const int protection = kGuarded ? PROT_NONE : PROT_READ | PROT_WRITE;
  void* address = ::mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) throw_error(ErrorCode::kUnavailable, "there is no memory for {} bytes", bytes);
  data_ = static_cast<std::byte*>(address);
  counter_ = &counter;
  *counter_ += bytes;
}

GuardedMemory::~GuardedMemory() { release(); }

GuardedMemory::GuardedMemory(GuardedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), counter_(other.counter_) {}

GuardedMemory& GuardedMemory::operator=(GuardedMemory&& other) noexcept {
  if (this != &other) {
    release();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    counter_ = other.counter_;
  }
  return *this;
}

void GuardedMemory::release() noexcept {
  if (!data_) return;
  ::munmap(data_, size_);
  *counter_ -= size_;
}

void GuardedMemory::open() const {
  if (kGuarded && openings_++ == 0 && data_) ::mprotect(data_, size_, PROT_READ | PROT_WRITE);
}

void GuardedMemory::close() const {
  if (kGuarded && --openings_ == 0 && data_) ::mprotect(data_, size_, PROT_NONE);
}

Access::Access(std::initializer_list<const GuardedMemory*> regions) {
  for (const GuardedMemory* region : regions) {
    if (!region) continue;
    assert(count_ < kMaxRegions);
    region->open();
    regions_[count_++] = region;
  }
}

Access::~Access() {
  while (count_ > 0) regions_[--count_]->close();
}

}  // namespace carronade::reference
