// Filters on sequences: taking apart, joining, sorting, grouping.
#include <algorithm>

#include "text/jinja/attribute_path.h"
#include "text/jinja/builtins.h"
#include "text/jinja/format_value.h"
#include "text/jinja/operators.h"

namespace carronade::jinja {

namespace {

Value filter_default(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  auto [fallback, boolean] = bind("do_default", arguments, {"default_value", "boolean"});
  if (!input.is_undefined() && (boolean.is_missing() || !truthy(boolean) || truthy(input))) return input;
  return fallback.is_missing() ? interpreter.text("") : fallback;
}

Value filter_length(Interpreter&, const Value& input, Arguments& arguments) {
  expect_no_arguments("len", arguments);
  if (input.is(Type::kLoop)) raise("len() of a loop is loop.length");
  const int64_t length = length_of(input);
  if (length < 0) raise(std::string("object of type '") + type_name(input) + "' has no len()");
  return Value::integer(length);
}

Value filter_first(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("first", arguments);
  Value item;
  if (interpreter.iterator_next(interpreter.iterator(input), item)) return item;
  return interpreter.undefined_hint("No first item, sequence was empty.");
}

// What Python's reversed() takes: anything with a length and an order. Undefined is none of it.
bool is_reversible(const Value& value) {
  return value.is_sequence() || value.is_string() || value.is(Type::kRange) || value.is(Type::kDict) ||
         value.is(Type::kDictView);
}

Value filter_last(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("last", arguments);
  if (input.is_undefined()) return interpreter.undefined_hint("No last item, sequence was empty.");
  if (!is_reversible(input)) raise(std::string("'") + type_name(input) + "' object is not reversible");
  const std::vector<Value> items = interpreter.to_vector(input);
  return items.empty() ? interpreter.undefined_hint("No last item, sequence was empty.") : items.back();
}

Value filter_list(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("list", arguments);
  return interpreter.list(interpreter.to_vector(input));
}

Value filter_reverse(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("reverse", arguments);
  if (input.is_string()) {
    return interpreter.slice(input, Value::none(), Value::none(), Value::integer(-1));
  }
  const bool iterable = length_of(input) >= 0 || input.is(Type::kIterator);
  if (!iterable) raise("argument must be iterable");
  std::vector<Value> items = interpreter.to_vector(input);
  std::reverse(items.begin(), items.end());
  Value list = interpreter.list(std::move(items));
  return is_reversible(input) || input.is_undefined()
             ? interpreter.list_iterator(std::move(list), "list_reverseiterator")
             : list;
}

Value filter_join(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [separator, attribute] = bind("do_join", arguments, {"d", "attribute"});
  const std::string between = separator.is_missing() ? "" : str(separator);
  const AttributePath path(interpreter, attribute);
  std::string result;
  bool first = true;
  interpreter.for_each(input, [&](const Value& item) {
    if (!first) result += between;
    first = false;
    append_str(result, path.of(item));
    interpreter.budget().check_size(result.size());
  });
  interpreter.budget().step_bytes(result.size());
  return interpreter.text(std::move(result));
}

Value filter_items(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  expect_no_arguments("items", arguments);
  if (input.is_undefined()) return interpreter.list_iterator(interpreter.list({}), "generator");
  if (!input.is(Type::kDict)) raise("Can only get item pairs from a mapping.");
  std::vector<Value> pairs;
  for (const auto& [key, value] : input.as<Dict>().entries()) pairs.push_back(interpreter.tuple({key, value}));
  return interpreter.list_iterator(interpreter.list(std::move(pairs)), "generator");
}

Value filter_dictsort(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [sensitive, by, reverse] = bind("do_dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string what = by.is_missing() ? "key" : str(by);
  if (what != "key" && what != "value") raise("You can only sort by either \"key\" or \"value\"");
  if (input.is_undefined()) raise_undefined(input);
  if (!input.is(Type::kDict)) raise(std::string("'") + type_name(input) + "' object has no attribute 'items'");
  std::vector<SortItem> items;
  for (const auto& [key, value] : input.as<Dict>().entries()) {
    const Value& of_order = what == "key" ? key : value;
    items.push_back(
        {truthy_argument(sensitive) ? of_order : ignore_case(interpreter, of_order), interpreter.tuple({key, value})});
  }
  return interpreter.list(sorted(interpreter.budget(), std::move(items), truthy_argument(reverse)));
}

Value filter_sort(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [reverse, sensitive, attribute] = bind("do_sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const bool case_matters = truthy_argument(sensitive);
  const AttributePaths paths(interpreter, attribute);
  std::vector<SortItem> items;
  interpreter.for_each(input, [&](const Value& item) {
    std::vector<Value> keys = paths.of(item);
    if (!case_matters) {
      for (Value& key : keys) key = ignore_case(interpreter, key);
    }
    items.push_back({interpreter.list(std::move(keys)), item});
  });
  return interpreter.list(sorted(interpreter.budget(), std::move(items), truthy_argument(reverse)));
}

Value filter_unique(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [sensitive, attribute] = bind("do_unique", arguments, {"case_sensitive", "attribute"});
  const bool case_matters = truthy_argument(sensitive);
  const AttributePath path(interpreter, attribute);
  auto* seen = new Dict(&interpreter.budget());
  const Value owner(seen);
  std::vector<Value> items;
  interpreter.for_each(input, [&](const Value& item) {
    Value key = path.of(item);
    if (!case_matters) key = ignore_case(interpreter, key);
    if (seen->find(key)) return;
    seen->set(std::move(key), Value::none());
    items.push_back(item);
  });
  return interpreter.list_iterator(interpreter.list(std::move(items)), "generator");
}

Value extreme(Interpreter& interpreter, const Value& input, Arguments& arguments, bool greatest) {
  const auto [sensitive, attribute] = bind("min or max", arguments, {"case_sensitive", "attribute"});
  const bool case_matters = truthy_argument(sensitive);
  const AttributePath path(interpreter, attribute);
  Value best;
  Value best_key;
  interpreter.for_each(input, [&](const Value& item) {
    Value key = path.of(item);
    if (!case_matters) key = ignore_case(interpreter, key);
    const bool better =
        best.is_missing() || compare(interpreter, greatest ? CompareOp::kGreater : CompareOp::kLess, key, best_key);
    if (!better) return;
    best = item;
    best_key = std::move(key);
  });
  return best.is_missing() ? interpreter.undefined_hint("No aggregated item, sequence was empty.") : best;
}
Value filter_min(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  return extreme(interpreter, input, arguments, false);
}
Value filter_max(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  return extreme(interpreter, input, arguments, true);
}

Value filter_sum(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [attribute, start] = bind("do_sum", arguments, {"attribute", "start"});
  if (start.is_string()) raise("sum() can't sum strings [use ''.join(seq) instead]");
  const AttributePath path(interpreter, attribute);
  Value total = start.is_missing() ? Value::integer(0) : start;
  interpreter.for_each(input,
                       [&](const Value& item) { total = binary(interpreter, BinaryOp::kAdd, total, path.of(item)); });
  return total;
}

Value filter_groupby(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [attribute, fallback, sensitive] =
      bind("do_groupby", arguments, {"attribute", "default", "case_sensitive"}, 1);
  const bool case_matters = truthy_argument(sensitive);
  const AttributePath path(interpreter, attribute, fallback);
  std::vector<SortItem> items;
  interpreter.for_each(input, [&](const Value& item) {
    Value key = path.of(item);
    items.push_back({case_matters ? key : ignore_case(interpreter, key), item});
  });
  sort_items(interpreter.budget(), items, false);
  std::vector<Value> groups;
  for (size_t i = 0; i < items.size();) {
    const Value key = items[i].key;
    std::vector<Value> members;
    for (; i < items.size() && equal(items[i].key, key); ++i) members.push_back(items[i].item);
    const Value real_key = case_matters ? key : path.of(members[0]);
    groups.emplace_back(
        new List(&interpreter.budget(), Type::kTuple, {real_key, interpreter.list(std::move(members))}, true));
  }
  return interpreter.list(std::move(groups));
}

Value filter_batch(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [count, fill] = bind("do_batch", arguments, {"linecount", "fill_with"}, 1);
  const Value full = count;  // clang 14 captures no bindings
  std::vector<Value> batches;
  std::vector<Value> batch;
  interpreter.for_each(input, [&](const Value& item) {
    if (equal(Value::integer(static_cast<int64_t>(batch.size())), full)) {
      batches.push_back(interpreter.list(std::exchange(batch, {})));
    }
    batch.push_back(item);
  });
  if (!batch.empty()) {
    if (!fill.is_missing() && !fill.is_none()) {
      const int64_t missing = require_int(count) - static_cast<int64_t>(batch.size());
      if (missing > 0) {
        interpreter.budget().check_size(static_cast<uint64_t>(missing) * sizeof(Value));
        interpreter.budget().step(static_cast<uint64_t>(missing));
        batch.insert(batch.end(), static_cast<size_t>(missing), fill);
      }
    }
    batches.push_back(interpreter.list(std::move(batch)));
  }
  return interpreter.list_iterator(interpreter.list(std::move(batches)), "generator");
}

Value filter_slice(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [count, fill] = bind("do_slice", arguments, {"slices", "fill_with"}, 1);
  const std::vector<Value> items = interpreter.to_vector(input);
  const int64_t slices = require_int(count);
  if (slices == 0) raise("integer division or modulo by zero");
  std::vector<Value> result;
  const auto length = static_cast<int64_t>(items.size());
  const int64_t each = slices > 0 ? length / slices : 0;
  const int64_t extra = slices > 0 ? length % slices : 0;
  int64_t begin = 0;
  for (int64_t i = 0; i < slices; ++i) {
    interpreter.budget().step();
    const int64_t end = begin + each + (i < extra ? 1 : 0);
    std::vector<Value> part(items.begin() + begin, items.begin() + end);
    if (!fill.is_missing() && !fill.is_none() && i >= extra) part.push_back(fill);
    result.push_back(interpreter.list(std::move(part)));
    begin = end;
  }
  return interpreter.list_iterator(interpreter.list(std::move(result)), "generator");
}

Value filter_attr(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [name] = bind("do_attr", arguments, {"name"}, 1);
  require_string(name, "attr");
  if (input.is_undefined()) raise_undefined(input);
  if (auto attribute = interpreter.find_attribute(input, name)) return std::move(*attribute);
  return interpreter.undefined(name, input);
}

constexpr FilterEntry kFilters[] = {
    {"attr", filter_attr},       {"batch", filter_batch},       {"count", filter_length}, {"d", filter_default},
    {"default", filter_default}, {"dictsort", filter_dictsort}, {"first", filter_first},  {"groupby", filter_groupby},
    {"items", filter_items},     {"join", filter_join},         {"last", filter_last},    {"length", filter_length},
    {"list", filter_list},       {"max", filter_max},           {"min", filter_min},      {"reverse", filter_reverse},
    {"slice", filter_slice},     {"sort", filter_sort},         {"sum", filter_sum},      {"unique", filter_unique},
};
static_assert(is_sorted_by_name(kFilters));

}  // namespace

const FilterEntry* find_sequence_filter(std::string_view name) { return find_by_name(kFilters, name); }

}  // namespace carronade::jinja
