#include "model/metadata.h"

#include "base/error.h"

namespace carronade {
namespace {

[[noreturn]] void throw_missing(const Checkpoint& checkpoint, const std::string& key) {
  throw Error(ErrorCode::kCorruptFile, fmt::format("{}: the metadata lack {}", checkpoint.path().string(), key), key);
}

template <typename Value, typename Bound>
Value checked(const Checkpoint& checkpoint, const std::string& key, Value value, Bound lowest, Bound highest) {
  if (value >= lowest && value <= highest) return value;
  throw Error(ErrorCode::kCorruptFile,
              fmt::format("{}: {} is {}, which is not between {} and {}", checkpoint.path().string(), key, value,
                          lowest, highest),
              key);
}

}  // namespace

int ModelMetadata::integer(std::string_view key, int64_t lowest, int64_t highest) const {
  const std::string name = prefix_ + std::string(key);
  const std::optional<int64_t> value = checkpoint_.integer(name);
  if (!value) throw_missing(checkpoint_, name);
  return static_cast<int>(checked(checkpoint_, name, *value, lowest, highest));
}

int ModelMetadata::integer_or(std::string_view key, int fallback, int64_t lowest, int64_t highest) const {
  return checkpoint_.integer(prefix_ + std::string(key)) ? integer(key, lowest, highest) : fallback;
}

float ModelMetadata::real(std::string_view key, double lowest, double highest) const {
  const std::string name = prefix_ + std::string(key);
  const std::optional<double> value = checkpoint_.real(name);
  if (!value) throw_missing(checkpoint_, name);
  return static_cast<float>(checked(checkpoint_, name, *value, lowest, highest));
}

float ModelMetadata::real_or(std::string_view key, float fallback, double lowest, double highest) const {
  return checkpoint_.real(prefix_ + std::string(key)) ? real(key, lowest, highest) : fallback;
}

std::string ModelMetadata::string_or(std::string_view key, std::string_view fallback) const {
  return checkpoint_.string(prefix_ + std::string(key)).value_or(std::string(fallback));
}

}  // namespace carronade
