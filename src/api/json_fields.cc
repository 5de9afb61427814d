#include "api/json_fields.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "base/error.h"

namespace carronade {

namespace {

constexpr uint64_t kMostFields = 1024;             // of one object
constexpr uint64_t kMostComparisons = 16'000'000;  // of names with names

// The parser itself needs no stack for depth, but what walks the value later does. An object keeps its fields in their
// order and looks for a name by going through them, so that many make it slow.
void check_shape(std::string_view text, std::string_view what, int max_depth) {
  int depth = 0;
  bool in_string = false;
  std::vector<uint64_t> fields(1);  // of the objects around this place, the text itself first
  uint64_t comparisons = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > max_depth) {
        throw_error(ErrorCode::kInvalidArgument, "{} is nested more than {} levels deep", what, max_depth);
      }
      fields.push_back(0);
    } else if (c == ']' || c == '}') {
      --depth;
      if (fields.size() > 1) fields.pop_back();
    } else if (c == ':') {
      comparisons += fields.back()++;
      if (fields.back() > kMostFields || comparisons > kMostComparisons)
        throw_error(ErrorCode::kInvalidArgument, "{} has too many fields; an object may have {}", what, kMostFields);
    }
  }
}

// nlohmann's message without its library's own prefix.
std::string plain_parse_message(const std::string& what) {
  const size_t end = what.find("] ");
  return end == std::string::npos ? what : what.substr(end + 2);
}

std::string article(const char* kind) {
  return std::string(std::string_view("aeiou").find(kind[0]) != std::string_view::npos ? "an " : "a ") + kind;
}

}  // namespace

Json parse_json_object(std::string_view text, std::string_view what, int max_depth) {
  check_shape(text, what, max_depth);
  Json value;
  try {
    value = Json::parse(text);
  } catch (const Json::exception& error) {
    throw_error(ErrorCode::kInvalidArgument, "{} is not valid JSON: {}", what, plain_parse_message(error.what()));
  }
  if (!value.is_object())
    throw_error(ErrorCode::kInvalidArgument, "{} must be a JSON object, not {}", what, json_kind(value));
  return value;
}

JsonFields::JsonFields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
  if (object.is_object()) return;
  std::string name = path_;
  if (name.ends_with('.')) name.pop_back();
  throw Error(ErrorCode::kInvalidArgument, name + " must be an object, not " + json_kind(object), name);
}

const Json* JsonFields::find(std::string_view name) const {
  const auto found = object_.find(std::string(name));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const Json& JsonFields::require(std::string_view name) const {
  if (const Json* value = find(name)) return *value;
  throw Error(ErrorCode::kInvalidArgument, path_of(name) + " is required", path_of(name));
}

std::optional<bool> JsonFields::boolean(std::string_view name) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) fail(name, "must be true or false, not " + json_kind(*value));
  return value->get<bool>();
}

std::optional<float> JsonFields::number(std::string_view name) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_number()) fail(name, "must be a number, not " + json_kind(*value));
  const auto number = value->get<double>();
  if (!(std::abs(number) <= std::numeric_limits<float>::max())) fail(name, "is too large");
  return static_cast<float>(number);
}

std::optional<int64_t> JsonFields::integer(std::string_view name, int64_t low, int64_t high) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  int64_t number = 0;
  if (value->is_number_unsigned()) {
    number = static_cast<int64_t>(std::min<uint64_t>(value->get<uint64_t>(), std::numeric_limits<int64_t>::max()));
  } else if (value->is_number_integer()) {
    number = value->get<int64_t>();
  } else if (value->is_number_float() && std::trunc(value->get<double>()) == value->get<double>() &&
             std::abs(value->get<double>()) < 9e15) {
    number = static_cast<int64_t>(value->get<double>());  // 5.0, as some languages write a whole number
  } else {
    fail(name, "must be an integer, not " + (value->is_number() ? value->dump() : json_kind(*value)));
  }
  if (number < low) fail(name, "must be at least " + std::to_string(low) + ", not " + value->dump());
  if (number > high) fail(name, "must be at most " + std::to_string(high) + ", not " + value->dump());
  return number;
}

std::optional<std::string> JsonFields::string(std::string_view name) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_string()) fail(name, "must be a string, not " + json_kind(*value));
  return value->get<std::string>();
}

const Json* JsonFields::object(std::string_view name) const {
  const Json* value = find(name);
  if (value && !value->is_object()) fail(name, "must be an object, not " + json_kind(*value));
  return value;
}

const Json* JsonFields::array(std::string_view name) const {
  const Json* value = find(name);
  if (value && !value->is_array()) fail(name, "must be an array, not " + json_kind(*value));
  return value;
}

void JsonFields::fail(std::string_view name, const std::string& what) const {
  throw Error(ErrorCode::kInvalidArgument, path_of(name) + " " + what, path_of(name));
}

std::string json_kind(const Json& value) {
  if (value.is_number()) return "a number";
  if (value.is_null()) return "null";
  return article(value.type_name());
}

std::string shown_name(std::string_view name) {
  constexpr size_t kMost = 100;
  return name.size() <= kMost ? std::string(name) : std::string(name.substr(0, kMost)) + "…";
}

std::string_view nearest_spelling(std::string_view word, const std::vector<std::string_view>& candidates) {
  constexpr size_t kLongest = 64;  // what is longer was not meant as any of them
  if (word.size() > kLongest) return {};
  std::string_view best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    std::vector<size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = std::exchange(row[0], i);
      for (size_t j = 1; j <= candidate.size(); ++j) {
        const size_t replaced = diagonal + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace carronade
