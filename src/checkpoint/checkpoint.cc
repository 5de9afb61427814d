#include "checkpoint/checkpoint.h"

#include <limits>

#include "base/error.h"
#include "checkpoint/byte_cursor.h"
#include "checkpoint/gguf.h"
#include "checkpoint/safetensors.h"

namespace carronade {
namespace {

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += shape[i] < 0 ? "any" : std::to_string(shape[i]);
  }
  return text + "]";
}

[[noreturn]] void wrong_type(const Checkpoint& checkpoint, std::string_view key, std::string_view expected) {
  throw Error(ErrorCode::kCorruptFile,
              fmt::format("{}: metadata {} should be {}", checkpoint.path().string(), printable(key), expected),
              checkpoint.path().string());
}

const MetadataValue* value_of(const Checkpoint& checkpoint, std::string_view key) {
  const auto found = checkpoint.metadata().find(key);
  return found == checkpoint.metadata().end() ? nullptr : &found->second;
}

}  // namespace

int64_t TensorView::rows() const {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  return rows;
}

std::shared_ptr<const Checkpoint> Checkpoint::open(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path) || path.extension() == ".safetensors") return open_safetensors(path);
  return open_gguf(path);
}

std::shared_ptr<const Checkpoint> Checkpoint::open_head(const std::filesystem::path& path) {
  return open_gguf(path, TensorData::kMayBeCutOff);
}

std::optional<int64_t> Checkpoint::integer(std::string_view key) const {
  const MetadataValue* value = value_of(*this, key);
  if (!value) return std::nullopt;
  if (const auto* number = std::get_if<int64_t>(value)) return *number;
  wrong_type(*this, key, "an integer");
}

std::optional<double> Checkpoint::real(std::string_view key) const {
  const MetadataValue* value = value_of(*this, key);
  if (!value) return std::nullopt;
  if (const auto* number = std::get_if<double>(value)) return *number;
  if (const auto* number = std::get_if<int64_t>(value)) return static_cast<double>(*number);
  wrong_type(*this, key, "a number");
}

std::optional<bool> Checkpoint::boolean(std::string_view key) const {
  const MetadataValue* value = value_of(*this, key);
  if (!value) return std::nullopt;
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  wrong_type(*this, key, "true or false");
}

std::optional<std::string> Checkpoint::string(std::string_view key) const {
  const MetadataValue* value = value_of(*this, key);
  if (!value) return std::nullopt;
  if (const auto* text = std::get_if<std::string>(value)) return *text;
  wrong_type(*this, key, "a text");
}

std::string Checkpoint::architecture() const {
  const auto name = string("general.architecture");
  if (name && !name->empty()) return *name;
  throw Error(
      ErrorCode::kCorruptFile,
      fmt::format("{}: the file does not say its architecture (metadata general.architecture)", path().string()),
      path().string());
}

const TensorView& Checkpoint::require(std::string_view name, std::span<const int64_t> shape) const {
  const TensorView* tensor = find(name);
  if (!tensor) {
    throw Error(ErrorCode::kCorruptFile,
                fmt::format("{}: the tensor {} {} is missing", path().string(), name, shape_text(shape)),
                path().string());
  }
  bool same = tensor->shape.size() == shape.size();
  for (size_t i = 0; same && i < shape.size(); ++i) same = shape[i] < 0 || shape[i] == tensor->shape[i];
  if (!same) {
    throw Error(ErrorCode::kCorruptFile,
                fmt::format("{}: the tensor {} has the shape {}, expected {}", path().string(), name,
                            shape_text(tensor->shape), shape_text(shape)),
                path().string());
  }
  return *tensor;
}

}  // namespace carronade
