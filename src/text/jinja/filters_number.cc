// Filters on numbers.
#include <cmath>
#include <cstdlib>

#include "text/jinja/builtins.h"
#include "text/jinja/codepoints.h"
#include "text/jinja/format_spec.h"
#include "text/jinja/format_value.h"
#include "text/jinja/numbers.h"
#include "text/jinja/operators.h"

namespace carronade::jinja {

namespace {

Value filter_abs(Interpreter&, const Value& input, Arguments& arguments) {
  expect_no_arguments("abs", arguments);
  if (input.is(Type::kFloat)) return Value::real(std::fabs(input.as_float()));
  if (input.is_integral()) return input.as_int() < 0 ? negate(input) : Value::integer(input.as_int());
  if (input.is_undefined()) raise_undefined(input);
  raise(std::string("bad operand type for abs(): '") + type_name(input) + "'");
}

Value to_integer(double number) {
  if (std::fabs(number) >= 9.2e18) raise("integers beyond 64 bits are not supported");
  return Value::integer(static_cast<int64_t>(number));
}

Value filter_int(Interpreter&, const Value& input, Arguments& arguments) {
  auto [fallback, base] = bind("do_int", arguments, {"default", "base"});
  if (fallback.is_missing()) fallback = Value::integer(0);
  if (input.is_undefined()) raise_undefined(input);
  if (input.is_integral()) return Value::integer(input.as_int());
  if (input.is(Type::kFloat)) {
    if (std::isinf(input.as_float())) raise("cannot convert float infinity to integer");
    return std::isnan(input.as_float()) ? fallback : to_integer(input.as_float());
  }
  if (!input.is_string()) return fallback;
  const int64_t radix = base.is_missing() ? 10 : require_int(base);
  if (const auto parsed = parse_int(input.as<String>().view(), radix)) return Value::integer(*parsed);
  const auto real = parse_float(input.as<String>().view());
  return real && std::isfinite(*real) ? to_integer(*real) : fallback;
}

Value filter_float(Interpreter&, const Value& input, Arguments& arguments) {
  auto [fallback] = bind("do_float", arguments, {"default"});
  if (fallback.is_missing()) fallback = Value::real(0);
  if (input.is_undefined()) raise_undefined(input);
  if (input.is_number()) return Value::real(input.as_float());
  const auto real = input.is_string() ? parse_float(input.as<String>().view()) : std::nullopt;
  return real ? Value::real(*real) : fallback;
}

// Half to even, decided on the exact decimal value, as Python's round() does.
double round_to(double number, int64_t digits) {
  if (!std::isfinite(number) || digits > 330) return number;
  if (digits < -310) return std::copysign(0.0, number);
  if (digits >= 0) {
    const std::string text = float_digits(std::fabs(number), 'f', static_cast<int>(digits), false);
    return std::copysign(std::strtod(text.c_str(), nullptr), number);
  }
  const double power = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(number / power) * power;
}

Value round_integer(int64_t number, int64_t digits) {
  if (digits >= 0) return Value::integer(number);
  if (digits < -18) return Value::integer(0);
  int64_t power = 1;
  for (int64_t i = 0; i < -digits; ++i) power *= 10;
  int64_t down = number / power * power;
  int64_t rest = number - down;
  if (rest < 0) {
    down -= power;
    rest += power;
  }
  const bool up = rest > power - rest || (rest == power - rest && (down / power) % 2 != 0);
  return Value::integer(up ? down + power : down);
}

Value filter_round(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [precision, how] = bind("do_round", arguments, {"precision", "method"});
  const std::string method = how.is_missing() ? "common" : str(how);
  if (method != "common" && method != "ceil" && method != "floor") raise("method must be common, ceil or floor");
  if (input.is_undefined()) raise_undefined(input);
  if (method == "common") {
    if (!input.is_number()) raise(std::string("type ") + type_name(input) + " doesn't define __round__ method");
    if (!precision.is_missing() && precision.is_none()) {
      return input.is(Type::kFloat) ? to_integer(std::nearbyint(input.as_float())) : Value::integer(input.as_int());
    }
    const int64_t digits = precision.is_missing() ? 0 : require_int(precision);
    return input.is(Type::kFloat) ? Value::real(round_to(input.as_float(), digits))
                                  : round_integer(input.as_int(), digits);
  }
  const Value power =
      binary(interpreter, BinaryOp::kPower, Value::integer(10), precision.is_missing() ? Value::integer(0) : precision);
  const Value scaled = binary(interpreter, BinaryOp::kMultiply, input, power);
  if (!scaled.is_number()) raise(std::string("must be real number, not ") + type_name(scaled));
  Value whole = scaled;
  if (scaled.is(Type::kFloat)) {
    if (!std::isfinite(scaled.as_float())) raise("cannot convert float infinity or NaN to integer");
    whole = to_integer(method == "ceil" ? std::ceil(scaled.as_float()) : std::floor(scaled.as_float()));
  }
  return binary(interpreter, BinaryOp::kDivide, whole, power);
}

Value filter_filesizeformat(Interpreter& interpreter, const Value& input, Arguments& arguments) {
  const auto [binary_units] = bind("do_filesizeformat", arguments, {"binary"});
  const bool binary = !binary_units.is_missing() && truthy(binary_units);
  if (input.is_undefined()) raise_undefined(input);
  std::optional<double> bytes;
  if (input.is_number()) bytes = input.as_float();
  if (input.is_string()) bytes = parse_float(input.as<String>().view());
  if (!bytes) raise("could not convert to float: " + repr(input));
  const double base = binary ? 1024 : 1000;
  if (*bytes == 1) return interpreter.text("1 Byte");
  if (*bytes < base) return interpreter.text(str(to_integer(*bytes)) + " Bytes");
  static constexpr const char* kDecimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
  static constexpr const char* kBinary[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
  double unit = base * base;
  size_t i = 0;
  for (; i < 7 && !(*bytes < unit); ++i) unit *= base;
  return interpreter.text(float_digits(base * *bytes / unit, 'f', 1, false) + " " + (binary ? kBinary : kDecimal)[i]);
}

constexpr FilterEntry kFilters[] = {
    {"abs", filter_abs},     {"filesizeformat", filter_filesizeformat}, {"float", filter_float}, {"int", filter_int},
    {"round", filter_round},
};
static_assert(is_sorted_by_name(kFilters));

}  // namespace

const FilterEntry* find_number_filter(std::string_view name) { return find_by_name(kFilters, name); }

}  // namespace carronade::jinja
