// The structure of one GGUF file (versions 2 and 3), every number in it checked. Source: the GGUF specification of ggml
// (docs/gguf.md).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace carronade {

// The numbers of the value types in files.
enum class GgufType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

// A list left where it lies in the file: elements one after another, unaligned; strings with their 64-bit lengths.
struct GgufList {
  GgufType type;
  uint64_t count;
  uint64_t offset;  // of its first element, from the start of the file
  std::span<const std::byte> bytes;
};

struct GgufTensor {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;  // outermost first (the file has it innermost first)
  uint64_t offset;             // from the start of the file
  uint64_t size;
};

struct GgufContents {
  uint32_t version = 0;
  uint32_t alignment = 32;
  std::map<std::string, MetadataValue, std::less<>> metadata;
  std::map<std::string, GgufList, std::less<>> lists;  // the tokenizer's, by key; not in `metadata`
  std::vector<GgufTensor> tensors;                     // in the file's order
};

enum class TensorData { kPresent, kMayBeCutOff };

// `file` names the file in errors. Views in the result live as long as `bytes`. With kMayBeCutOff the tensors may lie
// (partly) behind the end of the bytes; nothing may read them then. Throws Error{kCorruptFile | kUnsupported}.
GgufContents parse_gguf(std::span<const std::byte> bytes, const std::string& file, TensorData data);

// Calls `visit(std::string_view)` for every element of a list of strings. Checks each length again, as the file may
// have changed.
template <typename Visitor>
void for_each_string(const GgufList& list, const std::string& file, Visitor&& visit);

// "F32 F16 …": what a tensor may be, for error messages.
std::string supported_dtypes();

}  // namespace carronade

#include "checkpoint/byte_cursor.h"

namespace carronade {

template <typename Visitor>
void for_each_string(const GgufList& list, const std::string& file, Visitor&& visit) {
  ByteCursor cursor(list.bytes, file, list.offset);
  for (uint64_t i = 0; i < list.count; ++i) visit(cursor.string("a string of a list"));
}

}  // namespace carronade
