// Makes small GGUF files, for tests only: of this room (which then damages them) and of others (tiny random models).
//
//   GgufBuilder file;
//   file.set("general.architecture", "llama").set("llama.block_count", uint32_t{2});
//   file.random_tensor("token_embd.weight", DType::kQ8_0, {100, 64}, random);
//   file.write(directory.path() / "tiny.gguf");
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace carronade {

class GgufBuilder {
 public:
  uint32_t version = 3;
  uint64_t alignment = 32;  // to write another one into the file, also set("general.alignment", uint32_t{…})

  GgufBuilder& set(const std::string& key, uint8_t value) { return put(key, 0, raw(value)); }
  GgufBuilder& set(const std::string& key, int8_t value) { return put(key, 1, raw(value)); }
  GgufBuilder& set(const std::string& key, uint16_t value) { return put(key, 2, raw(value)); }
  GgufBuilder& set(const std::string& key, int16_t value) { return put(key, 3, raw(value)); }
  GgufBuilder& set(const std::string& key, uint32_t value) { return put(key, 4, raw(value)); }
  GgufBuilder& set(const std::string& key, int32_t value) { return put(key, 5, raw(value)); }
  GgufBuilder& set(const std::string& key, float value) { return put(key, 6, raw(value)); }
  GgufBuilder& set(const std::string& key, bool value) { return put(key, 7, raw(value)); }
  GgufBuilder& set(const std::string& key, const char* value) { return put(key, 8, text(value)); }
  GgufBuilder& set(const std::string& key, const std::string& value) { return put(key, 8, text(value)); }
  GgufBuilder& set(const std::string& key, uint64_t value) { return put(key, 10, raw(value)); }
  GgufBuilder& set(const std::string& key, int64_t value) { return put(key, 11, raw(value)); }
  GgufBuilder& set(const std::string& key, double value) { return put(key, 12, raw(value)); }

  GgufBuilder& set(const std::string& key, const std::vector<std::string>& list) {
    std::string payload = raw(uint32_t{8}) + raw(uint64_t{list.size()});
    for (const std::string& element : list) payload += text(element);
    return put(key, 9, payload);
  }
  GgufBuilder& set(const std::string& key, const std::vector<uint32_t>& list) { return put_numbers(key, 4, list); }
  GgufBuilder& set(const std::string& key, const std::vector<int32_t>& list) { return put_numbers(key, 5, list); }
  GgufBuilder& set(const std::string& key, const std::vector<float>& list) { return put_numbers(key, 6, list); }
  GgufBuilder& set(const std::string& key, const std::vector<uint64_t>& list) { return put_numbers(key, 10, list); }

  // A value of any type number and any bytes. A key that is there already is replaced; append() lets it stand twice.
  GgufBuilder& put(const std::string& key, uint32_t type, const std::string& payload) {
    for (Pair& pair : pairs_) {
      if (pair.key == key) return pair = {key, type, payload}, *this;
    }
    return append(key, type, payload);
  }
  GgufBuilder& append(const std::string& key, uint32_t type, const std::string& payload) {
    pairs_.push_back({key, type, payload});
    return *this;
  }

  // `shape` is outermost first, as in TensorView; the bytes are the tensor's own, of row_bytes × rows.
  GgufBuilder& tensor(const std::string& name, DType dtype, const std::vector<int64_t>& shape, std::string bytes) {
    const auto columns = static_cast<size_t>(shape.back());
    if (bytes.size() != row_bytes(dtype, shape.back()) * (elements_of(shape) / columns)) {
      throw std::logic_error("tensor " + name + " has the wrong number of bytes for its shape");
    }
    tensors_.push_back({name, static_cast<uint32_t>(info(dtype).ggml_type), shape, std::move(bytes)});
    return *this;
  }

  // Rounds the values to the type.
  GgufBuilder& tensor(const std::string& name, DType dtype, const std::vector<int64_t>& shape,
                      std::span<const float> values) {
    std::string bytes(row_bytes(dtype, shape.back()) * (values.size() / static_cast<size_t>(shape.back())), '\0');
    quantize(dtype, values.data(), reinterpret_cast<std::byte*>(bytes.data()), static_cast<int64_t>(values.size()));
    return tensor(name, dtype, shape, std::move(bytes));
  }

  // Other values for a tensor of F32 that is there.
  GgufBuilder& replace_tensor(const std::string& name, std::span<const float> values) {
    for (Tensor& tensor : tensors_) {
      if (tensor.name != name || tensor.bytes.size() != values.size_bytes()) continue;
      std::memcpy(tensor.bytes.data(), values.data(), values.size_bytes());
      return *this;
    }
    throw std::logic_error("no tensor " + name + " of this size");
  }

  // Normally distributed values.
  GgufBuilder& random_tensor(const std::string& name, DType dtype, const std::vector<int64_t>& shape,
                             std::mt19937& random, float deviation = 0.02f, float mean = 0.0f) {
    std::normal_distribution<float> normal(mean, deviation);
    std::vector<float> values(elements_of(shape));
    for (float& value : values) value = normal(random);
    return tensor(name, dtype, shape, values);
  }

  // The whole file. Also fills places().
  std::string build() {
    places_.clear();
    std::string out = "GGUF" + raw(version);
    mark(out, "tensors"), out += raw(uint64_t{tensors_.size()});
    mark(out, "pairs"), out += raw(uint64_t{pairs_.size()});
    for (const Pair& pair : pairs_) {
      mark(out, "key " + pair.key), out += text(pair.key);
      mark(out, "type " + pair.key), out += raw(pair.type);
      mark(out, "value " + pair.key), out += pair.payload;
    }
    uint64_t offset = 0;
    for (const Tensor& tensor : tensors_) {
      mark(out, "name " + tensor.name), out += text(tensor.name);
      mark(out, "dimensions " + tensor.name), out += raw(static_cast<uint32_t>(tensor.shape.size()));
      mark(out, "shape " + tensor.name);
      for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent) out += raw(*extent);
      mark(out, "dtype " + tensor.name), out += raw(tensor.type);
      mark(out, "offset " + tensor.name), out += raw(offset);
      offset = aligned(offset + tensor.bytes.size());
    }
    mark(out, "end of head");
    for (const Tensor& tensor : tensors_) {
      out.resize(aligned(out.size()), '\0');
      mark(out, "data " + tensor.name), out += tensor.bytes;
    }
    return out;
  }

  void write(const std::filesystem::path& path) {
    const std::string bytes = build();
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

  // Where things stand in what build() returned: "tensors", "pairs" (the two counts), "key K", "type K", "value K",
  // "name T", "dimensions T", "shape T", "dtype T", "offset T", "end of head", "data T".
  size_t place(const std::string& name) const { return places_.at(name); }

  template <typename T>
  static std::string raw(T value) {
    std::string bytes(sizeof(T), '\0');
    std::memcpy(bytes.data(), &value, sizeof(T));
    return bytes;
  }
  static std::string text(std::string_view value) { return raw(uint64_t{value.size()}).append(value); }

 private:
  struct Pair {
    std::string key;
    uint32_t type;
    std::string payload;
  };
  struct Tensor {
    std::string name;
    uint32_t type;
    std::vector<int64_t> shape;
    std::string bytes;
  };

  template <typename T>
  GgufBuilder& put_numbers(const std::string& key, uint32_t element_type, const std::vector<T>& list) {
    std::string payload = raw(element_type) + raw(uint64_t{list.size()});
    for (const T element : list) payload += raw(element);
    return put(key, 9, payload);
  }
  static size_t elements_of(const std::vector<int64_t>& shape) {
    size_t elements = 1;
    for (const int64_t extent : shape) elements *= static_cast<size_t>(extent);
    return elements;
  }
  uint64_t aligned(uint64_t value) const { return (value + alignment - 1) / alignment * alignment; }
  void mark(const std::string& out, const std::string& name) { places_[name] = out.size(); }

  std::vector<Pair> pairs_;
  std::vector<Tensor> tensors_;
  std::map<std::string, size_t> places_;
};

}  // namespace carronade
