#include "text/jinja/builtins.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include "text/jinja/format_value.h"
#include "text/jinja/operators.h"

namespace carronade::jinja {

void bind_arguments(const char* function, Arguments& arguments, const char* const* names, size_t count, size_t required,
                    Value* result) {
  if (arguments.positional.size() > count) {
    raise(std::string(function) + "() takes at most " + std::to_string(count) + " arguments (" +
          std::to_string(arguments.positional.size()) + " given)");
  }
  std::move(arguments.positional.begin(), arguments.positional.end(), result);
  for (auto& [name, value] : arguments.keyword) {
    const auto* found = std::find(names, names + count, name);
    if (found == names + count) {
      raise(std::string(function) + "() got an unexpected keyword argument " + repr_text(name));
    }
    Value& slot = result[found - names];
    if (!slot.is_missing()) {
      raise(std::string(function) + "() got multiple values for argument " + repr_text(name));
    }
    slot = std::move(value);
  }
  for (size_t i = 0; i < required; ++i) {
    if (result[i].is_missing()) {
      raise(std::string(function) + "() missing 1 required positional argument: '" + names[i] + "'");
    }
  }
}

void expect_no_arguments(const char* function, const Arguments& arguments) {
  expect_positional(function, arguments, 0, 0);
}

void expect_positional(const char* function, const Arguments& arguments, size_t least, size_t most) {
  if (!arguments.keyword.empty()) raise(std::string(function) + "() takes no keyword arguments");
  const size_t given = arguments.positional.size();
  if (given >= least && given <= most) return;
  const std::string wanted =
      least == most ? std::to_string(least) : std::to_string(least) + " to " + std::to_string(most);
  raise(std::string(function) + "() takes " + wanted + " arguments (" + std::to_string(given) + " given)");
}

const String& require_string(const Value& value, const char* function) {
  if (!value.is_string()) raise(std::string(function) + ": expected a str, not " + type_name(value));
  return value.as<String>();
}

void check_namespace_name(std::string_view name) {
  if (!name.starts_with("_")) return;
  raise("Chat templates cannot store underscore-prefixed attributes on a namespace, but got " + repr_text(name) +
        ". Please rename the attribute.");
}

namespace {

// Fills a dict as Python's dict(mapping or pairs, **keywords) does.
void fill_dict(Interpreter& interpreter, Dict& dict, const char* function, const Arguments& arguments) {
  if (arguments.positional.size() > 1) {
    raise(std::string(function) + " expected at most 1 argument, got " + std::to_string(arguments.positional.size()));
  }
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (source.is(Type::kDict)) {
      for (const auto& [key, value] : source.as<Dict>().entries()) dict.set(key, value);
    } else if (source.is_undefined()) {
      raise_undefined(source);  // Python asks it for .keys()
    } else {
      interpreter.for_each(source, [&](const Value& item) {
        const std::vector<Value> pair = interpreter.to_vector(item);
        if (pair.size() != 2) {
          raise("dictionary update sequence element has length " + std::to_string(pair.size()) + "; 2 is required");
        }
        dict.set(pair[0], pair[1]);
      });
    }
  }
  for (const auto& [name, value] : arguments.keyword) dict.set(interpreter.text(std::string(name)), value);
}

Value make_dict(Interpreter& interpreter, const Value&, Arguments& arguments) {
  auto* dict = new Dict(&interpreter.budget());
  Value result(dict);
  fill_dict(interpreter, *dict, "dict", arguments);
  return result;
}

Value make_namespace(Interpreter& interpreter, const Value&, Arguments& arguments) {
  auto* object = new Namespace(&interpreter.budget());
  Value result(object);
  fill_dict(interpreter, object->attributes, "namespace", arguments);
  for (const auto& [key, value] : object->attributes.entries()) {
    if (key.is_string()) check_namespace_name(key.as<String>().view());
  }
  return result;
}

Value make_range(Interpreter& interpreter, const Value&, Arguments& arguments) {
  expect_positional("range", arguments, 1, 3);
  int64_t bounds[3] = {0, 0, 1};
  const size_t given = arguments.positional.size();
  if (given == 1) {
    bounds[1] = require_int(arguments.positional[0]);
  } else {
    for (size_t i = 0; i < given; ++i) bounds[i] = require_int(arguments.positional[i]);
  }
  if (bounds[2] == 0) raise("range() arg 3 must not be zero");
  return Value(new Range(&interpreter.budget(), bounds[0], bounds[1], bounds[2]));
}

Value make_cycler(Interpreter& interpreter, const Value&, Arguments& arguments) {
  if (!arguments.keyword.empty()) raise("Cycler.__init__() got an unexpected keyword argument");
  if (arguments.positional.empty()) raise("at least one item has to be provided");
  return Value(new Cycler(interpreter.budget(), interpreter.tuple(std::move(arguments.positional))));
}

Value make_joiner(Interpreter& interpreter, const Value&, Arguments& arguments) {
  auto [separator] = bind("Joiner.__init__", arguments, {"sep"});
  if (separator.is_missing()) separator = interpreter.text(", ");
  return Value(new Joiner(interpreter.budget(), std::move(separator)));
}

Value raise_exception(Interpreter& interpreter, const Value&, Arguments& arguments) {
  const auto [message] = bind("raise_exception", arguments, {"message"}, 1);
  interpreter.set_raised();
  raise(message.is_none() ? "None" : str(message));
}

Value strftime_now(Interpreter& interpreter, const Value&, Arguments& arguments) {
  const auto [format] = bind("strftime_now", arguments, {"format"}, 1);
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1'000'000;
  std::string result;
  const std::string& pattern = require_string(format, "strftime_now").text();
  // One directive at a time: each is short, whatever the pattern.
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      result += pattern[i];
      continue;
    }
    std::string directive = pattern.substr(i, pattern[i + 1] == '-' && i + 2 < pattern.size() ? 3 : 2);
    i += directive.size() - 1;
    if (directive == "%f") {
      std::string digits = std::to_string(micros);
      result += std::string(6 - digits.size(), '0') + digits;
    } else if (directive != "%z" && directive != "%Z") {  // Python's time here has no zone
      char buffer[256];
      result.append(buffer, std::strftime(buffer, sizeof buffer, directive.c_str(), &local));
    }
  }
  return interpreter.text(std::move(result));
}

Value lipsum(Interpreter&, const Value&, Arguments&) { raise("lipsum() is not supported: it is random"); }

struct Global {
  std::string_view name;
  const char* spelling;
  NativeFunction function;
};
constexpr Global kGlobals[] = {
    {"cycler", "cycler", make_cycler},
    {"dict", "dict", make_dict},
    {"joiner", "joiner", make_joiner},
    {"lipsum", "generate_lorem_ipsum", lipsum},
    {"namespace", "namespace", make_namespace},
    {"raise_exception", "raise_exception", raise_exception},
    {"range", "range", make_range},
    {"strftime_now", "strftime_now", strftime_now},
};
static_assert(is_sorted_by_name(kGlobals));

}  // namespace

Value find_global(Interpreter& interpreter, std::string_view name) {
  const Global* global = find_by_name(kGlobals, name);
  if (!global) return {};
  return Value(new Function(&interpreter.budget(), global->spelling, global->function, Value()));
}

NativeFunction find_method(const Value& object, std::string_view name) {
  const MethodEntry* entry = object.is_string() ? find_string_method(name) : find_container_method(object.type(), name);
  return entry ? entry->function : nullptr;
}

Filter find_filter(std::string_view name) {
  for (const auto find : {find_text_filter, find_sequence_filter, find_selection_filter, find_number_filter}) {
    if (const FilterEntry* entry = find(name)) return entry->filter;
  }
  return nullptr;
}

bool is_mutating_method(const Value& object, std::string_view name) {
  static constexpr std::string_view kOfLists[] = {"append", "clear", "pop",    "reverse",
                                                  "insert", "sort",  "extend", "remove"};
  static constexpr std::string_view kOfDicts[] = {"clear", "pop", "popitem", "setdefault", "update"};
  const auto among = [&](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  return (object.is(Type::kList) && among(kOfLists)) || (object.is(Type::kDict) && among(kOfDicts));
}

}  // namespace carronade::jinja
