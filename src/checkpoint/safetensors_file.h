// The structure of one safetensors file: 64-bit length of the header, the header (JSON), the tensors' bytes.
// Source: the format section of the safetensors README.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace carronade {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;           // as the file spells it: "BF16"
  std::vector<int64_t> shape;  // outermost first; empty for a scalar
  std::span<const std::byte> bytes;
};

// Every length, offset, size and overlap is checked; entries are in the order of their bytes. `file` names the file in
// errors. Views live as long as `bytes`. Throws Error{kCorruptFile}.
std::vector<SafetensorsEntry> parse_safetensors(std::span<const std::byte> bytes, const std::string& file);

}  // namespace carronade
