#include "backend/cpu/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace carronade::cpu {
namespace {
constexpr size_t kHugePage = 2u << 20;
constexpr size_t kRegion = 256u << 20;  // address space only: pages come when touched
constexpr size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }
}  // namespace

HugeMemory::HugeMemory(size_t bytes) : size_(bytes) {
  // Less than a huge page stays on small ones: of a buffer for the largest step, most steps touch little.
  const bool huge = bytes >= kHugePage;
  mapping_size_ = huge ? round_up(bytes, kHugePage) + kHugePage : std::max<size_t>(bytes, 1);
  mapping_ = ::mmap(nullptr, mapping_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) {
    mapping_ = nullptr;
    throw_error(ErrorCode::kUnavailable, "no memory: the system refused {} MiB ({})", bytes >> 20,
                std::strerror(errno));
  }
  const auto start = reinterpret_cast<uintptr_t>(mapping_);
  data_ = reinterpret_cast<std::byte*>(huge ? round_up(start, kHugePage) : start);
#ifdef MADV_HUGEPAGE
  // A wish: refusal costs speed only.
  ::madvise(data_, huge ? round_up(bytes, kHugePage) : bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#endif
}

HugeMemory::~HugeMemory() {
  if (mapping_) ::munmap(mapping_, mapping_size_);
}

HugeMemory::HugeMemory(HugeMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapping_(std::exchange(other.mapping_, nullptr)),
      mapping_size_(std::exchange(other.mapping_size_, 0)) {}

HugeMemory& HugeMemory::operator=(HugeMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapping_size_, other.mapping_size_);
  return *this;
}

Piece Arena::allocate(size_t bytes) {
  const size_t need = round_up(std::max<size_t>(bytes, 1), 64);
  if (need >= kRegion / 2) {  // its own region; the current one goes on
    auto region = std::make_shared<HugeMemory>(need);
    return {region, region->data(), need};
  }
  if (!region_ || used_ + need > region_->size()) {
    region_ = std::make_shared<HugeMemory>(kRegion);
    used_ = 0;
  }
  Piece piece{region_, region_->data() + used_, need};
  used_ += need;
  return piece;
}

}  // namespace carronade::cpu
