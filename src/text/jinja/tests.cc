// The tests behind `is`: jinja2.tests.
#include "text/jinja/builtins.h"
#include "text/jinja/codepoints.h"
#include "text/jinja/format_value.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace carronade::jinja {

namespace {

// Whether the cased characters of a text, of which there must be one, are all upper (or all lower) case.
template <typename Wanted, typename Other>
bool all_cased(std::string_view text, const Wanted& wanted, const Other& other) {
  bool found = false;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_codepoint(text, i);
    if (other(c) || is_title(c)) return false;
    found = found || wanted(c);
  }
  return found;
}

int64_t remainder_of(Interpreter& interpreter, const Value& value, int64_t divisor) {
  const Value result = binary(interpreter, BinaryOp::kModulo, value, Value::integer(divisor));
  return equal(result, Value::integer(1)) ? 1 : equal(result, Value::integer(0)) ? 0 : -1;
}

template <typename Check>
bool unary(const char* name, const Value& value, const Arguments& arguments, const Check& check) {
  expect_no_arguments(name, arguments);
  return check(value);
}

template <CompareOp kOp>
bool test_compare(Interpreter& interpreter, const Value& value, Arguments& arguments) {
  expect_positional("comparison", arguments, 1, 1);
  return compare(interpreter, kOp, value, arguments.positional[0]);
}

bool test_odd(Interpreter& interpreter, const Value& value, Arguments& arguments) {
  expect_no_arguments("odd", arguments);
  return remainder_of(interpreter, value, 2) == 1;
}
bool test_even(Interpreter& interpreter, const Value& value, Arguments& arguments) {
  expect_no_arguments("even", arguments);
  return remainder_of(interpreter, value, 2) == 0;
}
bool test_divisibleby(Interpreter& interpreter, const Value& value, Arguments& arguments) {
  const auto [divisor] = bind("test_divisibleby", arguments, {"num"}, 1);
  return equal(binary(interpreter, BinaryOp::kModulo, value, divisor), Value::integer(0));
}
bool test_defined(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_defined", value, arguments, [](const Value& v) { return !v.is_undefined(); });
}
bool test_undefined(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_undefined", value, arguments, [](const Value& v) { return v.is_undefined(); });
}
bool test_filter(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_filter", value, arguments, [](const Value& v) {
    hash_value(v);  // an unhashable name is an error
    return v.is_string() && find_filter(v.as<String>().view());
  });
}
bool test_test(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_test", value, arguments, [](const Value& v) {
    hash_value(v);
    return v.is_string() && find_test(v.as<String>().view());
  });
}
bool test_none(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_none", value, arguments, [](const Value& v) { return v.is_none(); });
}
bool test_boolean(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_boolean", value, arguments, [](const Value& v) { return v.is(Type::kBool); });
}
bool test_false(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_false", value, arguments, [](const Value& v) { return v.is(Type::kBool) && !v.as_bool(); });
}
bool test_true(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_true", value, arguments, [](const Value& v) { return v.is(Type::kBool) && v.as_bool(); });
}
bool test_integer(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_integer", value, arguments, [](const Value& v) { return v.is(Type::kInt); });
}
bool test_float(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_float", value, arguments, [](const Value& v) { return v.is(Type::kFloat); });
}
bool test_lower(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_lower", value, arguments, [](const Value& v) { return all_cased(str(v), is_lower, is_upper); });
}
bool test_upper(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_upper", value, arguments, [](const Value& v) { return all_cased(str(v), is_upper, is_lower); });
}
bool test_string(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_string", value, arguments, [](const Value& v) { return v.is_string(); });
}
bool test_mapping(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_mapping", value, arguments, [](const Value& v) { return v.is(Type::kDict); });
}
bool test_number(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_number", value, arguments, [](const Value& v) { return v.is_number(); });
}
bool test_sequence(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_sequence", value, arguments, [](const Value& v) {
    return length_of(v) >= 0 && !v.is(Type::kDictView);  // views have a length, but no items by number
  });
}
bool test_iterable(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_iterable", value, arguments,
               [](const Value& v) { return length_of(v) >= 0 || v.is(Type::kIterator) || v.is(Type::kLoop); });
}
bool test_callable(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("callable", value, arguments, [](const Value& v) {
    return v.is(Type::kFunction) || v.is(Type::kMacro) || v.is(Type::kUndefined) || v.is(Type::kLoop) ||
           v.is(Type::kJoiner);
  });
}
bool test_sameas(Interpreter&, const Value& value, Arguments& arguments) {
  const auto [other] = bind("test_sameas", arguments, {"other"}, 1);
  if (value.is_string() && other.is_string()) {
    // CPython shares short strings here and there; what can be relied on is that unequal ones are not the same.
    return value.same_as(other) || value.as<String>().view() == other.as<String>().view();
  }
  return value.same_as(other);
}
bool test_escaped(Interpreter&, const Value& value, Arguments& arguments) {
  return unary("test_escaped", value, arguments,
               [](const Value& v) { return v.is_string() && v.as<String>().markup(); });
}
bool test_in(Interpreter& interpreter, const Value& value, Arguments& arguments) {
  const auto [container] = bind("test_in", arguments, {"seq"}, 1);
  return contains(interpreter, container, value);
}

struct TestEntry {
  std::string_view name;
  Test test;
};
constexpr TestEntry kTests[] = {
    {"!=", test_compare<CompareOp::kNotEqual>},
    {"<", test_compare<CompareOp::kLess>},
    {"<=", test_compare<CompareOp::kLessEqual>},
    {"==", test_compare<CompareOp::kEqual>},
    {">", test_compare<CompareOp::kGreater>},
    {">=", test_compare<CompareOp::kGreaterEqual>},
    {"boolean", test_boolean},
    {"callable", test_callable},
    {"defined", test_defined},
    {"divisibleby", test_divisibleby},
    {"eq", test_compare<CompareOp::kEqual>},
    {"equalto", test_compare<CompareOp::kEqual>},
    {"escaped", test_escaped},
    {"even", test_even},
    {"false", test_false},
    {"filter", test_filter},
    {"float", test_float},
    {"ge", test_compare<CompareOp::kGreaterEqual>},
    {"greaterthan", test_compare<CompareOp::kGreater>},
    {"gt", test_compare<CompareOp::kGreater>},
    {"in", test_in},
    {"integer", test_integer},
    {"iterable", test_iterable},
    {"le", test_compare<CompareOp::kLessEqual>},
    {"lessthan", test_compare<CompareOp::kLess>},
    {"lower", test_lower},
    {"lt", test_compare<CompareOp::kLess>},
    {"mapping", test_mapping},
    {"ne", test_compare<CompareOp::kNotEqual>},
    {"none", test_none},
    {"number", test_number},
    {"odd", test_odd},
    {"sameas", test_sameas},
    {"sequence", test_sequence},
    {"string", test_string},
    {"test", test_test},
    {"true", test_true},
    {"undefined", test_undefined},
    {"upper", test_upper},
};
static_assert(is_sorted_by_name(kTests));

}  // namespace

Test find_test(std::string_view name) {
  const TestEntry* entry = find_by_name(kTests, name);
  return entry ? entry->test : nullptr;
}

}  // namespace carronade::jinja
