#include "checkpoint/safetensors_file.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "checkpoint/byte_cursor.h"
#include "checkpoint/json_file.h"

namespace carronade {
namespace {

using nlohmann::json;

constexpr uint64_t kMostHeaderBytes = 32 << 20;  // some 300,000 tensors
constexpr size_t kMostDimensions = 8;
constexpr int kHeaderDepth = 3;  // { name: { "shape": [

// Bits an element of every type that the format knows.
std::optional<uint64_t> bits_of(std::string_view dtype) {
  constexpr std::pair<std::string_view, uint64_t> kBits[] = {
      {"BOOL", 8}, {"U8", 8},   {"I8", 8},    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},
      {"U16", 16}, {"F16", 16}, {"BF16", 16}, {"I32", 32},    {"U32", 32},    {"F32", 32},    {"F64", 64},
      {"I64", 64}, {"U64", 64}, {"F4", 4},    {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"C64", 64},
  };
  for (const auto& [name, bits] : kBits) {
    if (name == dtype) return bits;
  }
  return std::nullopt;
}

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  std::vector<SafetensorsEntry> read() {
    const json header = read_header();
    std::vector<SafetensorsEntry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name != "__metadata__") entries.push_back(read_entry(name, value));
    }
    std::sort(entries.begin(), entries.end(),
              [](const auto& a, const auto& b) { return a.bytes.data() < b.bytes.data(); });
    for (size_t i = 1; i < entries.size(); ++i) {
      const auto &before = entries[i - 1], &after = entries[i];
      if (before.bytes.data() + before.bytes.size() > after.bytes.data()) {
        fail("the tensors {} and {} overlap", printable(before.name), printable(after.name));
      }
    }
    return entries;
  }

 private:
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw Error(ErrorCode::kCorruptFile, file_ + ": " + fmt::format(format, std::forward<Args>(args)...), file_);
  }

  json read_header() {
    ByteCursor cursor(bytes_, file_);
    const auto length = cursor.number<uint64_t>("the length of the header");
    if (length > cursor.remaining()) {
      cursor.fail(
          "the header's length is {}, and the file has only {} bytes more: it is damaged or its download is incomplete",
          length, cursor.remaining());
    }
    if (length > kMostHeaderBytes)
      cursor.fail("the header's length is {}; at most {} is supported", length, kMostHeaderBytes);
    const auto text = cursor.take(length, "the header");
    data_ = bytes_.subspan(8 + length);
    json header = parse_json({reinterpret_cast<const char*>(text.data()), text.size()}, file_, kHeaderDepth);
    if (!header.is_object()) fail("the header should be a JSON object");
    return header;
  }

  uint64_t number(const json& value, const std::string& name, std::string_view what) const {
    if (!value.is_number_unsigned())
      fail("tensor {}: {} should be whole numbers, found {}", printable(name), what,
           printable(value.dump(-1, ' ', true, json::error_handler_t::replace)));
    return value.get<uint64_t>();
  }

  const json& field(const json& entry, const std::string& name, const char* key) const {
    const auto found = entry.find(key);
    if (found == entry.end()) fail("tensor {} has no \"{}\"", printable(name), key);
    return *found;
  }

  SafetensorsEntry read_entry(const std::string& name, const json& value) const {
    if (name.empty()) fail("the name of a tensor is empty");
    if (!value.is_object()) fail("tensor {} should be described by a JSON object", printable(name));
    SafetensorsEntry entry{name, {}, {}, {}};
    const json& dtype = field(value, name, "dtype");
    if (!dtype.is_string()) fail("tensor {}: \"dtype\" should be a text", printable(name));
    entry.dtype = dtype.get<std::string>();
    const uint64_t size = read_shape(field(value, name, "shape"), entry);
    const json& offsets = field(value, name, "data_offsets");
    if (!offsets.is_array() || offsets.size() != 2)
      fail("tensor {}: \"data_offsets\" should be two numbers", printable(name));
    const uint64_t begin = number(offsets[0], name, "\"data_offsets\""),
                   end = number(offsets[1], name, "\"data_offsets\"");
    if (begin > end) fail("tensor {} begins at {} and ends before, at {}", printable(name), begin, end);
    if (end > data_.size()) {
      fail(
          "tensor {} lies at bytes {} to {} of the data, which has {}: the file is damaged or its download is "
          "incomplete",
          printable(name), begin, end, data_.size());
    }
    if (end - begin != size)
      fail("tensor {} has {} bytes, and its shape and dtype {} make {}", printable(name), end - begin,
           printable(entry.dtype), size);
    entry.bytes = data_.subspan(begin, size);
    return entry;
  }

  // Fills entry.shape and returns the bytes it needs.
  uint64_t read_shape(const json& shape, SafetensorsEntry& entry) const {
    if (!shape.is_array()) fail("tensor {}: \"shape\" should be a list", printable(entry.name));
    if (shape.size() > kMostDimensions) {
      fail("tensor {} has {} dimensions; at most {} are allowed", printable(entry.name), shape.size(), kMostDimensions);
    }
    const auto bits = bits_of(entry.dtype);
    if (!bits) fail("tensor {} has the unknown dtype \"{}\"", printable(entry.name), printable(entry.dtype));
    int64_t elements = 1;
    uint64_t all_bits = 0;
    for (const json& extent : shape) {
      const uint64_t n = number(extent, entry.name, "\"shape\"");
      if (__builtin_mul_overflow(elements, n, &elements))
        fail("tensor {} has more elements than 63 bits can count", printable(entry.name));
      entry.shape.push_back(static_cast<int64_t>(n));
    }
    if (__builtin_mul_overflow(static_cast<uint64_t>(elements), *bits, &all_bits)) {
      fail("tensor {} has more bits than 64 bits can count", printable(entry.name));
    }
    return (all_bits + 7) / 8;
  }

  std::span<const std::byte> bytes_;
  std::span<const std::byte> data_;
  const std::string& file_;
};

}  // namespace

std::vector<SafetensorsEntry> parse_safetensors(std::span<const std::byte> bytes, const std::string& file) {
  return Reader(bytes, file).read();
}

}  // namespace carronade
