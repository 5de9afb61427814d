// A model's numbers, read from a checkpoint's metadata and held to what can be.
#pragma once

#include <string>
#include <string_view>

#include "checkpoint/checkpoint.h"

namespace carronade {

// Reads "<architecture>.<key>". A value that is missing, of another type or out of its range is an Error{kCorruptFile}
// that names the key, the value and the range.
class ModelMetadata {
 public:
  explicit ModelMetadata(const Checkpoint& checkpoint)
      : checkpoint_(checkpoint), prefix_(checkpoint.architecture() + ".") {}

  int integer(std::string_view key, int64_t lowest, int64_t highest) const;
  int integer_or(std::string_view key, int fallback, int64_t lowest, int64_t highest) const;
  float real(std::string_view key, double lowest, double highest) const;
  float real_or(std::string_view key, float fallback, double lowest, double highest) const;
  std::string string_or(std::string_view key, std::string_view fallback) const;

 private:
  const Checkpoint& checkpoint_;
  std::string prefix_;
};

}  // namespace carronade
