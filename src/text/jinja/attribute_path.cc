#include "text/jinja/attribute_path.h"

#include <algorithm>

#include "text/jinja/codepoints.h"
#include "text/jinja/numbers.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace carronade::jinja {

namespace {

bool all_digits(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (!is_digit(next_codepoint(text, i))) return false;
  }
  return !text.empty();
}

}  // namespace

AttributePath::AttributePath(Interpreter& interpreter, const Value& attribute, Value fallback)
    : interpreter_(interpreter), fallback_(std::move(fallback)) {
  if (attribute.is_missing() || attribute.is_none()) return;
  if (!attribute.is_string()) {
    parts_.push_back(attribute);
    return;
  }
  std::string_view rest = attribute.as<String>().view();
  while (true) {
    const size_t dot = std::min(rest.find('.'), rest.size());
    const std::string_view part = rest.substr(0, dot);
    if (all_digits(part)) {
      const auto index = parse_int(part, 10);
      if (!index) raise("invalid literal for int() with base 10");
      parts_.push_back(Value::integer(*index));
    } else {
      parts_.push_back(interpreter.text(std::string(part)));
    }
    if (dot == rest.size()) return;
    rest.remove_prefix(dot + 1);
  }
}

Value AttributePath::of(const Value& item) const {
  Value value = item;
  for (const Value& part : parts_) {
    value = interpreter_.get_item(value, part);
    if (value.is_undefined() && !fallback_.is_missing() && !fallback_.is_none()) value = fallback_;
  }
  return value;
}

AttributePaths::AttributePaths(Interpreter& interpreter, const Value& attribute) {
  if (!attribute.is_string()) {
    paths_.emplace_back(interpreter, attribute);
    return;
  }
  std::string_view rest = attribute.as<String>().view();
  while (true) {
    const size_t comma = std::min(rest.find(','), rest.size());
    paths_.emplace_back(interpreter, interpreter.text(std::string(rest.substr(0, comma))));
    if (comma == rest.size()) return;
    rest.remove_prefix(comma + 1);
  }
}

std::vector<Value> AttributePaths::of(const Value& item) const {
  std::vector<Value> result;
  for (const AttributePath& path : paths_) result.push_back(path.of(item));
  return result;
}

Value ignore_case(Interpreter& interpreter, const Value& value) {
  return value.is_string() ? interpreter.text(to_lower(value.as<String>().view())) : value;
}

bool truthy_argument(const Value& value) { return !value.is_missing() && truthy(value); }

void sort_items(Budget& budget, std::vector<SortItem>& items, bool reverse) {
  // Merging by hand: std::stable_sort may not be given an order that is none, and what Python orders (nan) sometimes is
  // none.
  std::vector<SortItem> merged(items.size());
  const auto before = [&](const SortItem& a, const SortItem& b) {
    return reverse ? less(budget, b.key, a.key) : less(budget, a.key, b.key);
  };
  for (size_t width = 1; width < items.size(); width *= 2) {
    for (size_t low = 0; low < items.size(); low += 2 * width) {
      const size_t middle = std::min(low + width, items.size());
      const size_t high = std::min(low + 2 * width, items.size());
      size_t left = low;
      size_t right = middle;
      for (size_t out = low; out < high; ++out) {
        const bool from_right = left >= middle || (right < high && before(items[right], items[left]));
        merged[out] = std::move(items[from_right ? right++ : left++]);
      }
    }
    items.swap(merged);
  }
}

std::vector<Value> sorted(Budget& budget, std::vector<SortItem> items, bool reverse) {
  sort_items(budget, items, reverse);
  std::vector<Value> result;
  result.reserve(items.size());
  for (SortItem& item : items) result.push_back(std::move(item.item));
  return result;
}

}  // namespace carronade::jinja
