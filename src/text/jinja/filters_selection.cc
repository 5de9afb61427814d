// map, select, reject, selectattr and rejectattr: lazy, as Python's generators are.
#include "text/jinja/attribute_path.h"
#include "text/jinja/builtins.h"
#include "text/jinja/format_value.h"
#include "text/jinja/operators.h"

namespace carronade::jinja {

namespace {

// The arguments of the filter or test that is applied to each item.
Arguments copy_from(const Arguments& arguments, size_t first) {
  Arguments rest;
  for (size_t i = first; i < arguments.positional.size(); ++i) rest.positional.push_back(arguments.positional[i]);
  rest.keyword = arguments.keyword;
  rest.owners = arguments.owners;
  return rest;
}

[[noreturn]] void no_such(const char* what, const Value& name) {
  std::string message = std::string("No ") + what + " named " + repr(name) + ".";
  if (name.is_undefined()) {
    message += " (" + name.as<Undefined>().message() + "; did you forget to quote the callable name?)";
  }
  raise(message);
}

class Mapped final : public Iterator {
 public:
  Mapped(Interpreter& interpreter, Value source, Arguments arguments)
      : Iterator(&interpreter.budget()), source_(std::move(source)), arguments_(std::move(arguments)) {}

  bool next(Interpreter& interpreter, Value& item) override {
    if (!begin(interpreter)) return false;
    Value input;
    if (!interpreter.iterator_next(items_, input)) return false;
    interpreter.budget().step();
    if (path_) {
      item = path_->of(input);
    } else {
      Arguments arguments = copy_from(arguments_, 1);
      item = filter_(interpreter, input, arguments);
    }
    return true;
  }

 private:
  bool begin(Interpreter& interpreter) {
    if (!items_.is_missing()) return true;
    if (!truthy(source_)) return false;
    if (arguments_.positional.empty() && attribute(interpreter)) {
    } else if (arguments_.positional.empty()) {
      raise("map requires a filter argument");
    } else {
      const Value& name = arguments_.positional[0];
      hash_value(name);
      if (name.is_string()) filter_ = find_filter(name.as<String>().view());
      if (!filter_) no_such("filter", name);
    }
    items_ = interpreter.iterator(source_);
    return true;
  }

  bool attribute(Interpreter& interpreter) {
    Value attribute;
    Value fallback;
    for (const auto& [name, value] : arguments_.keyword) {
      if (name == "attribute") attribute = value;
      if (name == "default") fallback = value;
    }
    if (attribute.is_missing()) return false;
    for (const auto& [name, value] : arguments_.keyword) {
      if (name != "attribute" && name != "default") raise("Unexpected keyword argument " + repr_text(name));
    }
    path_.emplace(interpreter, attribute, fallback);
    return true;
  }

  Value source_;
  Arguments arguments_;
  Value items_;
  std::optional<AttributePath> path_;
  Filter filter_ = nullptr;
};

class Selected final : public Iterator {
 public:
  Selected(Interpreter& interpreter, Value source, Arguments arguments, bool by_attribute, bool wanted)
      : Iterator(&interpreter.budget()),
        source_(std::move(source)),
        arguments_(std::move(arguments)),
        by_attribute_(by_attribute),
        wanted_(wanted) {}

  bool next(Interpreter& interpreter, Value& item) override {
    if (!begin(interpreter)) return false;
    Value input;
    while (interpreter.iterator_next(items_, input)) {
      interpreter.budget().step();
      const Value subject = path_ ? path_->of(input) : input;
      bool passes = false;
      if (test_) {
        Arguments arguments = copy_from(arguments_, by_attribute_ ? 2 : 1);
        passes = test_(interpreter, subject, arguments);
      } else {
        passes = truthy(subject);
      }
      if (passes != wanted_) continue;
      item = std::move(input);
      return true;
    }
    return false;
  }

 private:
  bool begin(Interpreter& interpreter) {
    if (!items_.is_missing()) return true;
    if (!truthy(source_)) return false;
    if (by_attribute_) {
      if (arguments_.positional.empty()) raise("Missing parameter for attribute name");
      path_.emplace(interpreter, arguments_.positional[0]);
    }
    const size_t at = by_attribute_ ? 1 : 0;
    items_ = interpreter.iterator(source_);
    if (arguments_.positional.size() <= at) return true;
    const Value& name = arguments_.positional[at];
    hash_value(name);
    if (name.is_string()) test_ = find_test(name.as<String>().view());
    if (!test_) {
      // Python finds out with the first item.
      Value item;
      if (interpreter.iterator_next(items_, item)) no_such("test", name);
      return false;
    }
    return true;
  }

  Value source_;
  Arguments arguments_;
  bool by_attribute_;
  bool wanted_;
  Value items_;
  std::optional<AttributePath> path_;
  Test test_ = nullptr;
};

Value filter_map(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  return Value(new Mapped(interpreter, input, std::move(arguments)));
}
template <bool kByAttribute, bool kWanted>
Value filter_select(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  return Value(new Selected(interpreter, input, std::move(arguments), kByAttribute, kWanted));
}

constexpr FilterEntry kFilters[] = {
    {"map", filter_map},
    {"reject", filter_select<false, false>},
    {"rejectattr", filter_select<true, false>},
    {"select", filter_select<false, true>},
    {"selectattr", filter_select<true, true>},
};
static_assert(is_sorted_by_name(kFilters));

}  // namespace

const FilterEntry* find_selection_filter(std::string_view name) { return find_by_name(kFilters, name); }

}  // namespace carronade::jinja
