#include "checkpoint/gguf_parser.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "checkpoint/utf8.h"

namespace carronade {
namespace {

constexpr uint64_t kLongestName = 65535;  // the specification's limit for keys
constexpr uint32_t kLargestAlignment = 1 << 20;
constexpr uint64_t kMostListElements = 1 << 20;  // all lists in `metadata` together: bounds their memory at some 32 MB
constexpr uint64_t kMostTokens = 1 << 22;        // sixteen times the largest vocabulary in use
constexpr uint32_t kMostDimensions = 4;

// These stay in the file until tokenizer_data() copies them out.
constexpr std::array<std::string_view, 6> kLists = {
    "tokenizer.ggml.tokens", "tokenizer.ggml.token_type",   "tokenizer.ggml.scores",
    "tokenizer.ggml.merges", "tokenizer.ggml.added_tokens", "tokenizer.ggml.precompiled_charsmap",
};

// ggml's names of the types that we do not read, so that an error can say more than a number.
struct TypeName {
  uint32_t number;
  std::string_view name;
};
constexpr TypeName kOtherTypes[] = {
    {4, "Q4_2"},      {5, "Q4_3"},   {9, "Q8_1"},   {15, "Q8_K"},  {16, "IQ2_XXS"},  {17, "IQ2_XS"},
    {18, "IQ3_XXS"},  {19, "IQ1_S"}, {21, "IQ3_S"}, {22, "IQ2_S"}, {24, "I8"},       {25, "I16"},
    {26, "I32"},      {27, "I64"},   {28, "F64"},   {29, "IQ1_M"}, {31, "Q4_0_4_4"}, {32, "Q4_0_4_8"},
    {33, "Q4_0_8_8"}, {34, "TQ1_0"}, {35, "TQ2_0"}, {39, "MXFP4"}, {40, "NVFP4"},
};

size_t size_of(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
    case GgufType::kString:  // at least: its length
      return 8;
    case GgufType::kArray:
      return 12;
  }
  return 1;
}

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& file)
      : bytes_(bytes), file_(file), cursor_(bytes, file) {}

  GgufContents parse(TensorData data) {
    read_version();
    const uint64_t tensors = count("tensors", 8 + 1 + 4 + 8 + 4 + 8);
    const uint64_t pairs = count("metadata entries", 8 + 1 + 4 + 1);
    for (uint64_t i = 0; i < pairs; ++i) read_pair();
    read_alignment();
    for (uint64_t i = 0; i < tensors; ++i) read_tensor();
    place_tensors(data);
    return std::move(out_);
  }

 private:
  void read_version() {
    if (cursor_.remaining() < 4)
      cursor_.fail("expected the letters GGUF, and the file has only {} bytes", bytes_.size());
    const auto magic = cursor_.take(4, "the magic letters");
    const std::string_view letters(reinterpret_cast<const char*>(magic.data()), 4);
    if (letters != "GGUF") fail_magic(letters);
    out_.version = cursor_.number<uint32_t>("the version");
    if (out_.version != 0 && (out_.version & 0xFFFF) == 0) {
      unsupported(fmt::format("the version reads {:#x}: the file is big-endian, which is not supported", out_.version));
    }
    if (out_.version != 2 && out_.version != 3) {
      unsupported(fmt::format("GGUF version {} is not supported; supported: 2 and 3", out_.version));
    }
  }

  [[noreturn]] void fail_magic(std::string_view letters) const {
    const std::string_view whole(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
    const bool pointer = whole.starts_with("version https://git-lfs");
    throw Error(
        ErrorCode::kCorruptFile,
        fmt::format("{}: at byte 0: expected the letters GGUF, found \"{}\": {}", file_, printable(letters),
                    pointer ? "this is a Git LFS pointer, not the file it stands for" : "this is not a GGUF file"),
        file_);
  }

  [[noreturn]] void unsupported(const std::string& message) const {
    cursor_.fail_with(ErrorCode::kUnsupported, message);
  }

  // A count in the header, which the rest of the file must have room for: nothing is allocated on the word of a number
  // alone.
  uint64_t count(std::string_view of_what, uint64_t least_bytes) {
    const auto value = cursor_.number<uint64_t>(fmt::format("the number of {}", of_what));
    const uint64_t most = cursor_.remaining() / least_bytes;
    if (value > most) {
      cursor_.fail("{} {} are declared, and the {} bytes left have room for at most {}", value, of_what,
                   cursor_.remaining(), most);
    }
    return value;
  }

  void read_pair() {
    const std::string_view key = cursor_.string("a metadata key");
    if (key.empty()) cursor_.fail("a metadata key is empty");
    if (key.size() > kLongestName)
      cursor_.fail("a metadata key has {} bytes; at most {} are allowed", key.size(), kLongestName);
    if (!is_utf8(key)) cursor_.fail("the metadata key \"{}\" is not valid UTF-8", printable(key));
    const GgufType type = read_type(key);
    const bool is_list = std::find(kLists.begin(), kLists.end(), key) != kLists.end();
    if (out_.metadata.contains(key) || out_.lists.contains(key))
      cursor_.fail("the metadata key {} stands there twice", printable(key));
    if (is_list) {
      if (type != GgufType::kArray) cursor_.fail("{} must be a list, its type is {}", key, static_cast<uint32_t>(type));
      out_.lists.emplace(key, read_list(key, kMostTokens * (key == "tokenizer.ggml.precompiled_charsmap" ? 16 : 1)));
    } else {
      out_.metadata.emplace(key, type == GgufType::kArray ? read_array(key) : read_scalar(type, key));
    }
  }

  GgufType read_type(std::string_view key) {
    const auto number = cursor_.number<uint32_t>("the type of a metadata value");
    if (number > static_cast<uint32_t>(GgufType::kF64)) {
      cursor_.fail("metadata {} has the unknown type {}; known are 0 to 12", printable(key), number);
    }
    return static_cast<GgufType>(number);
  }

  MetadataValue read_scalar(GgufType type, std::string_view key) {
    const std::string_view what = "a metadata value";
    switch (type) {
      case GgufType::kU8:
        return static_cast<int64_t>(cursor_.number<uint8_t>(what));
      case GgufType::kI8:
        return static_cast<int64_t>(cursor_.number<int8_t>(what));
      case GgufType::kU16:
        return static_cast<int64_t>(cursor_.number<uint16_t>(what));
      case GgufType::kI16:
        return static_cast<int64_t>(cursor_.number<int16_t>(what));
      case GgufType::kU32:
        return static_cast<int64_t>(cursor_.number<uint32_t>(what));
      case GgufType::kI32:
        return static_cast<int64_t>(cursor_.number<int32_t>(what));
      case GgufType::kI64:
        return cursor_.number<int64_t>(what);
      case GgufType::kU64: {
        const auto value = cursor_.number<uint64_t>(what);
        if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return value;
        return static_cast<int64_t>(value);
      }
      case GgufType::kF32:
        return static_cast<double>(cursor_.number<float>(what));
      case GgufType::kF64:
        return cursor_.number<double>(what);
      case GgufType::kBool:
        return read_bool(key);
      case GgufType::kString:
        return repaired_utf8(cursor_.string(fmt::format("the text of {}", printable(key))));
      case GgufType::kArray:
        break;
    }
    cursor_.fail("metadata {} is a list inside of a list, which is not supported", printable(key));
  }

  bool read_bool(std::string_view key) {
    const auto value = cursor_.number<uint8_t>("a metadata value");
    if (value > 1) cursor_.fail("metadata {} should be true (1) or false (0), found {}", printable(key), value);
    return value == 1;
  }

  struct ListHead {
    GgufType type;
    uint64_t count;
  };
  ListHead read_list_head(std::string_view key, uint64_t most) {
    const GgufType type = read_type(key);
    if (type == GgufType::kArray) {
      unsupported(fmt::format("metadata {} is a list of lists, which is not supported", printable(key)));
    }
    const auto elements = cursor_.number<uint64_t>("the length of a list");
    const uint64_t room = cursor_.remaining() / size_of(type);
    if (elements > room) {
      cursor_.fail("the list {} declares {} elements, and the {} bytes left have room for at most {}", printable(key),
                   elements, cursor_.remaining(), room);
    }
    if (elements > most)
      cursor_.fail("the list {} has {} elements; at most {} are supported", printable(key), elements, most);
    return {type, elements};
  }

  GgufList read_list(std::string_view key, uint64_t most) {
    const ListHead head = read_list_head(key, most);
    const size_t begin = cursor_.position();
    if (head.type == GgufType::kString) {
      for (uint64_t i = 0; i < head.count; ++i) cursor_.string(key);
    } else {
      cursor_.take(head.count * size_of(head.type), key);
    }
    return {head.type, head.count, begin, bytes_.subspan(begin, cursor_.position() - begin)};
  }

  MetadataValue read_array(std::string_view key) {
    const ListHead head = read_list_head(key, kMostListElements - list_elements_);
    list_elements_ += head.count;
    switch (head.type) {
      case GgufType::kBool:
        return read_elements<bool>(head, key);
      case GgufType::kF32:
      case GgufType::kF64:
        return read_elements<double>(head, key);
      case GgufType::kString:
        return read_elements<std::string>(head, key);
      default:
        return read_elements<int64_t>(head, key);
    }
  }

  template <typename T>
  std::vector<T> read_elements(const ListHead& head, std::string_view key) {
    std::vector<T> result;
    result.reserve(head.count);
    for (uint64_t i = 0; i < head.count; ++i) {
      MetadataValue value = read_scalar(head.type, key);
      T* element = std::get_if<T>(&value);
      if (!element) cursor_.fail("an element of {} does not fit 63 bits", printable(key));
      result.push_back(std::move(*element));
    }
    return result;
  }

  void read_alignment() {
    const auto found = out_.metadata.find("general.alignment");
    if (found == out_.metadata.end()) return;
    const int64_t* value = std::get_if<int64_t>(&found->second);
    if (!value || *value < 1 || *value > kLargestAlignment || !std::has_single_bit(static_cast<uint64_t>(*value))) {
      const std::string shown = value ? std::to_string(*value) : "not an integer";
      throw Error(ErrorCode::kCorruptFile,
                  fmt::format("{}: general.alignment must be a power of two up to {}, it is {}", file_,
                              kLargestAlignment, shown),
                  file_);
    }
    out_.alignment = static_cast<uint32_t>(*value);
  }

  void read_tensor() {
    GgufTensor tensor;
    const std::string_view name = cursor_.string("the name of a tensor");
    if (name.empty()) cursor_.fail("the name of a tensor is empty");
    if (name.size() > kLongestName)
      cursor_.fail("a tensor's name has {} bytes; at most {} are allowed", name.size(), kLongestName);
    if (!is_utf8(name)) cursor_.fail("the tensor name \"{}\" is not valid UTF-8", printable(name));
    tensor.name = name;
    if (!names_.insert(name).second) cursor_.fail("the tensor {} stands there twice", printable(name));
    read_shape(tensor);
    read_dtype(tensor);
    tensor.offset = cursor_.number<uint64_t>("the offset of a tensor");
    if (tensor.offset % out_.alignment != 0) {
      cursor_.fail("tensor {} has the offset {}, which is not a multiple of the alignment {}", printable(name),
                   tensor.offset, out_.alignment);
    }
    out_.tensors.push_back(std::move(tensor));
  }

  void read_shape(GgufTensor& tensor) {
    const auto dimensions = cursor_.number<uint32_t>("the dimensions of a tensor");
    if (dimensions < 1 || dimensions > kMostDimensions) {
      cursor_.fail("tensor {} has {} dimensions; 1 to {} are allowed", printable(tensor.name), dimensions,
                   kMostDimensions);
    }
    int64_t elements = 1;
    for (uint32_t i = 0; i < dimensions; ++i) {
      const auto extent = cursor_.number<uint64_t>("the shape of a tensor");
      if (extent == 0) cursor_.fail("tensor {} has the extent 0 in dimension {}", printable(tensor.name), i);
      if (__builtin_mul_overflow(elements, extent, &elements)) {
        cursor_.fail("tensor {} has more elements than 63 bits can count", printable(tensor.name));
      }
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(extent));
    }
    tensor.size = static_cast<uint64_t>(elements);  // in elements, until its type is known
  }

  void read_dtype(GgufTensor& tensor) {
    const auto number = cursor_.number<uint32_t>("the type of a tensor");
    const auto dtype = dtype_of_ggml_type(number);
    if (!dtype) {
      const auto known = std::find_if(std::begin(kOtherTypes), std::end(kOtherTypes),
                                      [&](const TypeName& t) { return t.number == number; });
      const std::string name =
          known != std::end(kOtherTypes) ? std::string(known->name) : fmt::format("number {}", number);
      unsupported(fmt::format("tensor {} has the type {}, which is not supported; supported: {}",
                              printable(tensor.name), name, supported_dtypes()));
    }
    const DTypeInfo& format = info(*dtype);
    if (tensor.shape.back() % format.block_elements != 0) {
      cursor_.fail("tensor {} has rows of {} elements, which is not a multiple of the {} that make a block of {}",
                   printable(tensor.name), tensor.shape.back(), format.block_elements, format.name);
    }
    const uint64_t blocks = tensor.size / static_cast<uint64_t>(format.block_elements);
    if (__builtin_mul_overflow(blocks, static_cast<uint64_t>(format.block_bytes), &tensor.size)) {
      cursor_.fail("tensor {} has more bytes than 64 bits can count", printable(tensor.name));
    }
    tensor.dtype = *dtype;
  }

  // The data section starts at the next multiple of the alignment; offsets count from there.
  void place_tensors(TensorData data) {
    const uint64_t alignment = out_.alignment;
    const uint64_t start = (cursor_.position() + alignment - 1) / alignment * alignment;
    for (GgufTensor& tensor : out_.tensors) {
      uint64_t end = 0;
      const bool overflow = __builtin_add_overflow(start, tensor.offset, &tensor.offset) ||
                            __builtin_add_overflow(tensor.offset, tensor.size, &end);
      if (overflow || (end > bytes_.size() && data == TensorData::kPresent)) {
        const std::string range = overflow ? "beyond 2^64" : fmt::format("{} to {}", tensor.offset, end);
        throw Error(
            ErrorCode::kCorruptFile,
            fmt::format(
                "{}: tensor {} lies at bytes {}, and the file ends at {}: it is damaged or its download is incomplete",
                file_, printable(tensor.name), range, bytes_.size()),
            file_);
      }
    }
    check_overlaps();
  }

  void check_overlaps() const {
    std::vector<const GgufTensor*> order;
    for (const GgufTensor& tensor : out_.tensors) order.push_back(&tensor);
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < order.size(); ++i) {
      const GgufTensor &before = *order[i - 1], &after = *order[i];
      if (before.offset + before.size <= after.offset) continue;
      throw Error(
          ErrorCode::kCorruptFile,
          fmt::format("{}: tensors {} (bytes {} to {}) and {} (from byte {}) overlap", file_, printable(before.name),
                      before.offset, before.offset + before.size, printable(after.name), after.offset),
          file_);
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& file_;
  ByteCursor cursor_;
  GgufContents out_;
  std::set<std::string_view> names_;
  uint64_t list_elements_ = 0;
};

}  // namespace

GgufContents parse_gguf(std::span<const std::byte> bytes, const std::string& file, TensorData data) {
  return Parser(bytes, file).parse(data);
}

std::string supported_dtypes() {
  std::string names;
  for (int i = 0; i < kDTypeCount; ++i) {
    if (i > 0) names += ' ';
    names += info(static_cast<DType>(i)).name;
  }
  return names;
}

}  // namespace carronade
