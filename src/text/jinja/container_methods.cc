// Methods of lists, tuples, dicts, ranges, numbers, loops and cyclers.
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/format_value.h"
#include "text/jinja/operators.h"

namespace carronade::jinja {

namespace {

Value dict_get(Interpreter&, const Value& self, Arguments& arguments) {
  expect_positional("get", arguments, 1, 2);
  if (const Value* found = self.as<Dict>().find(arguments.positional[0])) return *found;
  return arguments.positional.size() > 1 ? arguments.positional[1] : Value::none();
}

template <DictView::Kind kKind>
Value dict_view(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_no_arguments("dict view", arguments);
  return Value(new DictView(&interpreter.budget(), self, kKind));
}

Value dict_copy(Interpreter&, const Value& self, Arguments& arguments) {
  expect_no_arguments("copy", arguments);
  return self;  // nothing can tell a copy of what never changes
}

Value dict_fromkeys(Interpreter& interpreter, const Value&, Arguments& arguments) {
  expect_positional("fromkeys", arguments, 1, 2);
  auto* dict = new Dict(&interpreter.budget());
  Value result(dict);
  const Value value = arguments.positional.size() > 1 ? arguments.positional[1] : Value::none();
  interpreter.for_each(arguments.positional[0], [&](const Value& key) { dict->set(key, value); });
  return result;
}

Value sequence_count(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_positional("count", arguments, 1, 1);
  int64_t count = 0;
  interpreter.for_each(self, [&](const Value& item) {
    count += item.same_as(arguments.positional[0]) || equal(item, arguments.positional[0]);
  });
  return Value::integer(count);
}

Value sequence_index(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_positional("index", arguments, 1, 3);
  const std::vector<Value> items = interpreter.to_vector(self);
  const auto length = static_cast<int64_t>(items.size());
  const auto bound = [&](size_t i, int64_t fallback) {
    if (arguments.positional.size() <= i) return fallback;
    const int64_t value = require_int(arguments.positional[i]);
    return value < 0 ? std::max<int64_t>(value + length, 0) : std::min(value, length);
  };
  const int64_t end = bound(2, length);
  for (int64_t i = bound(1, 0); i < end; ++i) {
    const Value& item = items[static_cast<size_t>(i)];
    if (item.same_as(arguments.positional[0]) || equal(item, arguments.positional[0])) return Value::integer(i);
  }
  raise(repr(arguments.positional[0]) + " is not in " + type_name(self));
}

Value list_copy(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  expect_no_arguments("copy", arguments);
  return interpreter.list(self.as<List>().items());
}

Value float_is_integer(Interpreter&, const Value& self, Arguments& arguments) {
  expect_no_arguments("is_integer", arguments);
  return Value::boolean(std::isfinite(self.as_float()) && std::trunc(self.as_float()) == self.as_float());
}

Value int_bit_length(Interpreter&, const Value& self, Arguments& arguments) {
  expect_no_arguments("bit_length", arguments);
  const int64_t value = self.as_int();
  uint64_t magnitude = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  int64_t bits = 0;
  for (; magnitude; magnitude >>= 1) ++bits;
  return Value::integer(bits);
}

Value number_conjugate(Interpreter&, const Value& self, Arguments& arguments) {
  expect_no_arguments("conjugate", arguments);
  return self.is(Type::kFloat) ? self : Value::integer(self.as_int());
}

Value loop_cycle(Interpreter&, const Value& self, Arguments& arguments) {
  if (!arguments.keyword.empty()) raise("cycle() got an unexpected keyword argument");
  if (arguments.positional.empty()) raise("no items for cycling given");
  return arguments.positional[static_cast<size_t>(self.as<Loop>().index0) % arguments.positional.size()];
}

Value loop_changed(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  if (!arguments.keyword.empty()) raise("changed() got an unexpected keyword argument");
  return Value::boolean(self.as<Loop>().changed(interpreter, std::move(arguments.positional)));
}

Value cycler_next(Interpreter&, const Value& self, Arguments& arguments) {
  expect_no_arguments("next", arguments);
  auto& cycler = self.as<Cycler>();
  const auto& items = cycler.items.as<List>().items();
  Value result = items[cycler.position];
  cycler.position = (cycler.position + 1) % items.size();
  return result;
}

Value cycler_reset(Interpreter&, const Value& self, Arguments& arguments) {
  expect_no_arguments("reset", arguments);
  self.as<Cycler>().position = 0;
  return Value::none();
}

constexpr MethodEntry kDictMethods[] = {
    {"copy", dict_copy},
    {"fromkeys", dict_fromkeys},
    {"get", dict_get},
    {"items", dict_view<DictView::Kind::kItems>},
    {"keys", dict_view<DictView::Kind::kKeys>},
    {"values", dict_view<DictView::Kind::kValues>},
};
constexpr MethodEntry kListMethods[] = {{"copy", list_copy}, {"count", sequence_count}, {"index", sequence_index}};
constexpr MethodEntry kTupleMethods[] = {{"count", sequence_count}, {"index", sequence_index}};
constexpr MethodEntry kIntMethods[] = {{"bit_length", int_bit_length}, {"conjugate", number_conjugate}};
constexpr MethodEntry kFloatMethods[] = {{"conjugate", number_conjugate}, {"is_integer", float_is_integer}};
constexpr MethodEntry kLoopMethods[] = {{"changed", loop_changed}, {"cycle", loop_cycle}};
constexpr MethodEntry kCyclerMethods[] = {{"next", cycler_next}, {"reset", cycler_reset}};
static_assert(is_sorted_by_name(kDictMethods) && is_sorted_by_name(kListMethods) && is_sorted_by_name(kTupleMethods));
static_assert(is_sorted_by_name(kIntMethods) && is_sorted_by_name(kFloatMethods));
static_assert(is_sorted_by_name(kLoopMethods) && is_sorted_by_name(kCyclerMethods));

}  // namespace

const MethodEntry* find_container_method(Type type, std::string_view name) {
  switch (type) {
    case Type::kDict:
      return find_by_name(kDictMethods, name);
    case Type::kList:
      return find_by_name(kListMethods, name);
    case Type::kTuple:
    case Type::kRange:
      return find_by_name(kTupleMethods, name);
    case Type::kBool:
    case Type::kInt:
      return find_by_name(kIntMethods, name);
    case Type::kFloat:
      return find_by_name(kFloatMethods, name);
    case Type::kLoop:
      return find_by_name(kLoopMethods, name);
    case Type::kCycler:
      return find_by_name(kCyclerMethods, name);
    default:
      return nullptr;
  }
}

}  // namespace carronade::jinja
