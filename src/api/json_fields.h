// Strict reading of a JSON object that came over the wire: bounded depth, exact types, errors that name the field.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace carronade {

using Json = nlohmann::ordered_json;

// Throws Error{kInvalidArgument} for what is not JSON, is not an object, or is nested more than `max_depth` deep, or
// has objects with thousands of fields. `what` is what messages call it: a flag, or a request's body.
Json parse_json_object(std::string_view text, std::string_view what = "the body", int max_depth = 100);

// One object's fields, read by name. `path` comes before a field's name in errors ("messages[2]."). A null counts as
// absent. Every reader throws Error{kInvalidArgument, …, path + name} for another type, or for a value out of its
// range.
class JsonFields {
 public:
  explicit JsonFields(const Json& object, std::string path = {});

  const Json* find(std::string_view name) const;  // nullptr: absent or null
  const Json& require(std::string_view name) const;

  std::optional<bool> boolean(std::string_view name) const;
  std::optional<float> number(std::string_view name) const;
  std::optional<int64_t> integer(std::string_view name, int64_t low = std::numeric_limits<int64_t>::min(),
                                 int64_t high = std::numeric_limits<int64_t>::max()) const;
  std::optional<std::string> string(std::string_view name) const;
  const Json* object(std::string_view name) const;
  const Json* array(std::string_view name) const;

  std::string path_of(std::string_view name) const { return path_ + std::string(name); }
  [[noreturn]] void fail(std::string_view name, const std::string& what) const;

 private:
  const Json& object_;
  std::string path_;
};

// "a string", "a number", … of a value, for messages.
std::string json_kind(const Json& value);

// A name that came over the wire, cut to what a message can hold.
std::string shown_name(std::string_view name);

// The candidate whose spelling is nearest, when it is near enough to be meant (edit distance at most a third of the
// word, at least 2).
std::string_view nearest_spelling(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace carronade
