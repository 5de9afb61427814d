// Attributes, items, slices and iteration of every type of value.
#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/codepoints.h"
#include "text/jinja/format_value.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"

namespace carronade::jinja {

namespace {

// What every Python object has; the sandbox lets templates touch none of it.
bool is_internal_attribute(std::string_view name) {
  static constexpr std::string_view kInternal[] = {
      "__class__",   "__delattr__", "__dir__",           "__doc__",          "__eq__",
      "__format__",  "__ge__",      "__getattribute__",  "__getstate__",     "__gt__",
      "__hash__",    "__init__",    "__init_subclass__", "__le__",           "__lt__",
      "__ne__",      "__new__",     "__reduce__",        "__reduce_ex__",    "__repr__",
      "__setattr__", "__sizeof__",  "__str__",           "__subclasshook__", "__len__",
      "__iter__",    "__getitem__", "__contains__",      "__add__",          "__mul__",
      "__call__",    "__module__"};
  return name.starts_with("__") && std::find(std::begin(kInternal), std::end(kInternal), name) != std::end(kInternal);
}

Value unsafe(Budget& budget, const Value& object, std::string_view name) {
  std::string hint =
      "access to attribute " + repr_text(name) + " of " + repr_text(type_name(object)) + " object is unsafe.";
  return Value(new Undefined(&budget, Value(), nullptr, std::move(hint), true));
}

std::optional<Value> number_attribute(const Value& number, std::string_view name) {
  if (name == "real") return number.is(Type::kFloat) ? number : Value::integer(number.as_int());
  if (name == "imag") return number.is(Type::kFloat) ? Value::real(0) : Value::integer(0);
  if (number.is(Type::kFloat)) return std::nullopt;
  if (name == "numerator") return Value::integer(number.as_int());
  if (name == "denominator") return Value::integer(1);
  return std::nullopt;
}

std::optional<Value> macro_attribute(Interpreter& interpreter, const Macro& macro, std::string_view name) {
  const MacroPlan& plan = macro.plan;
  if (name == "name") return plan.name.empty() ? Value::none() : interpreter.text(plan.name);
  if (name == "catch_kwargs") return Value::boolean(plan.wants_keywords);
  if (name == "catch_varargs") return Value::boolean(plan.wants_positionals);
  if (name == "caller") return Value::boolean(plan.wants_caller);
  if (name == "explicit_caller") return Value::boolean(plan.explicit_caller);
  if (name != "arguments") return std::nullopt;
  std::vector<Value> names;
  for (const auto& parameter : plan.parameters) names.push_back(parameter.name->name);
  return interpreter.tuple(std::move(names));
}

std::optional<Value> data_attribute(Interpreter& interpreter, const Value& object, std::string_view name) {
  switch (object.type()) {
    case Type::kBool:
    case Type::kInt:
    case Type::kFloat:
      return number_attribute(object, name);
    case Type::kNamespace: {
      const Value* value = object.as<Namespace>().attributes.find(name);
      return value ? std::optional<Value>(*value) : std::nullopt;
    }
    case Type::kLoop:
      return object.as<Loop>().attribute(interpreter, name);
    case Type::kMacro:
      return macro_attribute(interpreter, object.as<Macro>(), name);
    case Type::kRange: {
      const auto& range = object.as<Range>();
      if (name == "start") return Value::integer(range.start);
      if (name == "stop") return Value::integer(range.stop);
      if (name == "step") return Value::integer(range.step);
      return std::nullopt;
    }
    case Type::kTuple:
      if (!object.as<List>().group()) return std::nullopt;
      if (name == "grouper") return object.as<List>().items()[0];
      if (name == "list") return object.as<List>().items()[1];
      return std::nullopt;
    case Type::kCycler: {
      const auto& cycler = object.as<Cycler>();
      if (name == "current") return cycler.items.as<List>().items()[cycler.position];
      if (name == "items") return cycler.items;
      if (name == "pos") return Value::integer(static_cast<int64_t>(cycler.position));
      return std::nullopt;
    }
    case Type::kJoiner:
      if (name == "sep") return object.as<Joiner>().separator;
      if (name == "used") return Value::boolean(object.as<Joiner>().used);
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

std::optional<Value> item_at(Interpreter& interpreter, const Value& object, int64_t index) {
  const int64_t length = length_of(object);
  if (index < 0) index += length;
  if (index < 0 || index >= length) return std::nullopt;
  if (object.is_sequence()) return object.as<List>().items()[static_cast<size_t>(index)];
  if (object.is(Type::kRange)) return Value::integer(object.as<Range>().at(index));
  const auto& string = object.as<String>();
  if (string.ascii()) return interpreter.text(std::string(1, string.text()[static_cast<size_t>(index)]));
  interpreter.budget().step_bytes(string.text().size());
  const size_t begin = offset_of(string.view(), static_cast<size_t>(index));
  size_t end = begin;
  next_codepoint(string.view(), end);
  return interpreter.text(string.text().substr(begin, end - begin), string.markup());
}

bool indexed_by_number(const Value& value) {
  return value.is_sequence() || value.is_string() || value.is(Type::kRange);
}

}  // namespace

std::optional<Value> Interpreter::find_attribute(const Value& object, const Value& name) {
  const std::string_view text = name.as<String>().view();
  if (const NativeFunction method = find_method(object, text)) {
    // A bound method does not outlive the rendering, the name of its table entry does.
    return Value(new Function(&budget_, "method", method, object));
  }
  if (auto value = data_attribute(*this, object, text)) {
    if (text.starts_with("_")) return unsafe(budget_, object, text);
    return value;
  }
  if (is_mutating_method(object, text) || (!object.is(Type::kNamespace) && is_internal_attribute(text))) {
    return unsafe(budget_, object, text);
  }
  return std::nullopt;
}

Value Interpreter::get_attribute(const Value& object, const Value& name) {
  if (object.is_undefined()) {
    if (is_internal_attribute(name.as<String>().view())) return unsafe(budget_, object, name.as<String>().view());
    raise_undefined(object);
  }
  if (auto attribute = find_attribute(object, name)) return std::move(*attribute);
  if (object.is(Type::kDict)) {
    if (const Value* item = object.as<Dict>().find(name.as<String>().view())) return *item;
  }
  return undefined(name, object);
}

Value Interpreter::get_item(const Value& object, const Value& key) {
  if (object.is_undefined()) raise_undefined(object);
  if (object.is(Type::kDict)) {
    const bool hashable = !key.is(Type::kList) && !key.is(Type::kDict) && !key.is(Type::kDictView);
    if (const Value* item = hashable ? object.as<Dict>().find(key) : nullptr) return *item;
  } else if (indexed_by_number(object) && key.is_integral()) {
    if (auto item = item_at(*this, object, key.as_int())) return std::move(*item);
  }
  if (key.is_string()) {
    if (auto attribute = find_attribute(object, key)) return std::move(*attribute);
  }
  return undefined(key, object);
}

Value Interpreter::slice(const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (object.is_undefined()) raise_undefined(object);
  if (object.is(Type::kDict)) raise("unhashable type: 'slice'");
  if (!indexed_by_number(object)) raise(std::string("'") + type_name(object) + "' object is not subscriptable");
  const auto bound = [](const Value& value, int64_t fallback) {
    if (value.is_none()) return fallback;
    if (!value.is_integral()) raise("slice indices must be integers or None or have an __index__ method");
    return value.as_int();
  };
  const int64_t length = length_of(object);
  const int64_t stride = std::clamp<int64_t>(bound(step, 1), -INT64_MAX, INT64_MAX);
  if (stride == 0) raise("slice step cannot be zero");
  const int64_t low = stride < 0 ? -1 : 0;
  const int64_t high = stride < 0 ? length - 1 : length;
  const auto place = [&](const Value& value, int64_t fallback) {
    int64_t index = bound(value, fallback);
    if (value.is_none()) return index;
    if (index < 0) index += length;
    return std::clamp(index, low, high);
  };
  const int64_t begin = place(start, stride < 0 ? high : low);
  const int64_t end = place(stop, stride < 0 ? low : high);
  int64_t count = 0;
  if (stride > 0 && begin < end) count = (end - begin - 1) / stride + 1;
  if (stride < 0 && end < begin) count = (begin - end - 1) / -stride + 1;
  if (object.is(Type::kRange)) {
    const auto& range = object.as<Range>();
    int64_t step_between = 0;
    if (__builtin_mul_overflow(range.step, stride, &step_between)) raise("the slice's step is too large");
    return Value(new Range(&budget_, range.at(begin), range.at(end), step_between));
  }
  budget_.step(static_cast<uint64_t>(count) / 16);
  if (object.is_sequence()) {
    std::vector<Value> items;
    items.reserve(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      items.push_back(object.as<List>().items()[static_cast<size_t>(begin + i * stride)]);
    }
    return Value(new List(&budget_, object.type(), std::move(items)));
  }
  const auto& string = object.as<String>();
  if (stride == 1) {
    budget_.step_bytes(string.text().size());
    const size_t from =
        string.ascii() ? static_cast<size_t>(begin) : offset_of(string.view(), static_cast<size_t>(begin));
    const std::string_view rest = string.view().substr(std::min(from, string.text().size()));
    const size_t bytes = string.ascii() ? static_cast<size_t>(count) : offset_of(rest, static_cast<size_t>(count));
    return text(std::string(rest.substr(0, bytes)), string.markup());
  }
  budget_.step_bytes(string.text().size());
  const std::u32string characters = to_codepoints(string.view());
  std::string result;
  for (int64_t i = 0; i < count; ++i) append_utf8(result, characters[static_cast<size_t>(begin + i * stride)]);
  return text(std::move(result), string.markup());
}

namespace {

// Everything but generators, which iterate over themselves.
class ItemIterator final : public Iterator {
 public:
  ItemIterator(Budget& budget, Value source, const char* type_name = "generator")
      : Iterator(&budget, sizeof(ItemIterator), type_name), source_(std::move(source)) {}

  bool next(Interpreter& interpreter, Value& item) override {
    switch (source_.type()) {
      case Type::kList:
      case Type::kTuple: {
        const auto& items = source_.as<List>().items();
        if (position_ >= items.size()) return false;
        item = items[position_++];
        return true;
      }
      case Type::kDict:
        return entry(interpreter, source_.as<Dict>(), DictView::Kind::kKeys, item);
      case Type::kDictView:
        return entry(interpreter, source_.as<DictView>().dict(), source_.as<DictView>().kind(), item);
      case Type::kString: {
        const auto& string = source_.as<String>();
        if (position_ >= string.view().size()) return false;
        const size_t begin = position_;
        next_codepoint(string.view(), position_);
        item = interpreter.text(string.text().substr(begin, position_ - begin));
        return true;
      }
      case Type::kRange: {
        const auto& range = source_.as<Range>();
        if (static_cast<int64_t>(position_) >= range.length) return false;
        item = Value::integer(range.at(static_cast<int64_t>(position_++)));
        return true;
      }
      case Type::kLoop:
        return source_.as<Loop>().next(interpreter, item);
      default:
        return false;
    }
  }

 private:
  bool entry(Interpreter& interpreter, const Dict& dict, DictView::Kind kind, Value& item) {
    if (position_ >= dict.entries().size()) return false;
    const auto& [key, value] = dict.entries()[position_++];
    item = kind == DictView::Kind::kKeys     ? key
           : kind == DictView::Kind::kValues ? value
                                             : interpreter.tuple({key, value});
    return true;
  }

  Value source_;
  size_t position_ = 0;
};

}  // namespace

Value Interpreter::list_iterator(Value list, const char* type_name) {
  return Value(new ItemIterator(budget_, std::move(list), type_name));
}

Value Interpreter::iterator(const Value& iterable) {
  switch (iterable.type()) {
    case Type::kIterator:
      return iterable;
    case Type::kUndefined:
    case Type::kString:
    case Type::kList:
    case Type::kTuple:
    case Type::kDict:
    case Type::kDictView:
    case Type::kRange:
    case Type::kLoop:
      return Value(new ItemIterator(budget_, iterable));
    default:
      raise(std::string("'") + type_name(iterable) + "' object is not iterable");
  }
}

std::vector<Value> Interpreter::to_vector(const Value& iterable) {
  std::vector<Value> items;
  const int64_t length = length_of(iterable);
  if (length > 0) items.reserve(static_cast<size_t>(length));
  for_each(iterable, [&](const Value& item) {
    items.push_back(item);
    budget_.check_size(items.size() * sizeof(Value));
  });
  return items;
}

}  // namespace carronade::jinja
