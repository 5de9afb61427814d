// Reads little-endian numbers and length-prefixed strings one after another, never past the end: a file that ends too
// early is an Error which says where and inside of what.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/error.h"

namespace carronade {

static_assert(std::endian::native == std::endian::little, "the file formats are little-endian and are read in place");

// Text from a file as an error message may show it: one line, at most 60 bytes, nothing that a terminal would obey.
std::string printable(std::string_view text);

class ByteCursor {
 public:
  // `file` is what errors begin with; it and the bytes must outlive the cursor. `origin` is where the bytes start in
  // the file.
  ByteCursor(std::span<const std::byte> bytes, const std::string& file, size_t origin = 0)
      : bytes_(bytes), file_(file), origin_(origin) {}

  size_t position() const { return origin_ + at_; }
  size_t remaining() const { return bytes_.size() - at_; }

  template <typename T>
  T number(std::string_view what) {
    static_assert(std::is_arithmetic_v<T>);
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::span<const std::byte> take(uint64_t count, std::string_view what) {
    if (count > remaining()) {
      fail("the file ends inside {}: {} bytes are needed and {} are left", what, count, remaining());
    }
    const auto taken = bytes_.subspan(at_, count);
    at_ += count;
    return taken;
  }

  // A string as GGUF writes it: 64-bit length, then that many bytes. The view lives as long as the bytes.
  std::string_view string(std::string_view what) {
    const auto length = number<uint64_t>(what);
    if (length > remaining()) {
      fail("the length of {} is {}, and the file has only {} bytes more", what, length, remaining());
    }
    const auto taken = take(length, what);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  // "model.gguf: at byte 24: …". The place is where the cursor stands.
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    fail_with(ErrorCode::kCorruptFile, fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void fail_with(ErrorCode code, const std::string& message) const {
    throw Error(code, fmt::format("{}: at byte {}: {}", file_, position(), message), file_);
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& file_;
  size_t origin_;
  size_t at_ = 0;
};

}  // namespace carronade
