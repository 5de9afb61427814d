#include "text/jinja/operators.h"

#include <cmath>
#include <limits>

#include "text/jinja/codepoints.h"
#include "text/jinja/compare.h"
#include "text/jinja/escape.h"
#include "text/jinja/format_value.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/printf_format.h"

namespace carronade::jinja {

namespace {

const char* symbol(BinaryOp op) {
  static constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
  return kSymbols[static_cast<int>(op)];
}

[[noreturn]] void raise_overflow() { raise("the number is too large: integers beyond 64 bits are not supported"); }

[[noreturn]] void raise_unsupported(BinaryOp op, const Value& left, const Value& right) {
  if (op == BinaryOp::kAdd && left.is_string()) {
    raise(std::string("can only concatenate str (not \"") + type_name(right) + "\") to str");
  }
  if (op == BinaryOp::kAdd && left.is_sequence()) {
    const char* name = type_name(left);
    raise(std::string("can only concatenate ") + name + " (not \"" + type_name(right) + "\") to " + name);
  }
  raise(std::string("unsupported operand type(s) for ") + symbol(op) + ": '" + type_name(left) + "' and '" +
        type_name(right) + "'");
}

int64_t integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (true) {
    if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) raise_overflow();
    exponent >>= 1;
    if (exponent == 0) return result;
    if (__builtin_mul_overflow(base, base, &base)) raise_overflow();
  }
}

double float_power(double left, double right) {
  if (left == 0 && right < 0) raise("0.0 cannot be raised to a negative power");
  if (left < 0 && std::isfinite(left) && std::isfinite(right) && right != std::floor(right)) {
    raise("complex numbers are not supported");
  }
  const double result = std::pow(left, right);
  if (std::isinf(result) && std::isfinite(left) && std::isfinite(right)) raise("Numerical result out of range");
  return result;
}

double float_modulo(double left, double right) {
  double result = std::fmod(left, right);
  if (result != 0) {
    if ((right < 0) != (result < 0)) result += right;
  } else {
    result = std::copysign(0.0, right);
  }
  return result;
}

// As CPython does: via the remainder, so that quotient and remainder agree.
double float_floor_divide(double left, double right) {
  double remainder = std::fmod(left, right);
  double quotient = (left - remainder) / right;
  if (remainder != 0 && (right < 0) != (remainder < 0)) quotient -= 1.0;
  if (quotient == 0) return std::copysign(0.0, left / right);
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1.0 : whole;
}

Value integers(BinaryOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case BinaryOp::kAdd:
      if (__builtin_add_overflow(a, b, &result)) raise_overflow();
      return Value::integer(result);
    case BinaryOp::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) raise_overflow();
      return Value::integer(result);
    case BinaryOp::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) raise_overflow();
      return Value::integer(result);
    case BinaryOp::kDivide:
      if (b == 0) raise("division by zero");
      return Value::real(static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case BinaryOp::kFloorDivide:
    case BinaryOp::kModulo: {
      if (b == 0) raise(op == BinaryOp::kModulo ? "integer modulo by zero" : "integer division or modulo by zero");
      if (b == -1) {
        if (op == BinaryOp::kModulo) return Value::integer(0);
        if (a == std::numeric_limits<int64_t>::min()) raise_overflow();
        return Value::integer(-a);
      }
      int64_t quotient = a / b;
      int64_t remainder = a % b;
      if (remainder != 0 && (remainder < 0) != (b < 0)) {
        --quotient;
        remainder += b;
      }
      return Value::integer(op == BinaryOp::kModulo ? remainder : quotient);
    }
    case BinaryOp::kPower:
      if (b >= 0) return Value::integer(integer_power(a, b));
      if (a == 0) raise("0.0 cannot be raised to a negative power");
      return Value::real(float_power(static_cast<double>(a), static_cast<double>(b)));
  }
  raise_overflow();
}

Value floats(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd:
      return Value::real(a + b);
    case BinaryOp::kSubtract:
      return Value::real(a - b);
    case BinaryOp::kMultiply:
      return Value::real(a * b);
    case BinaryOp::kDivide:
      if (b == 0) raise("float division by zero");
      return Value::real(a / b);
    case BinaryOp::kFloorDivide:
      if (b == 0) raise("float floor division by zero");
      return Value::real(float_floor_divide(a, b));
    case BinaryOp::kModulo:
      if (b == 0) raise("float modulo");
      return Value::real(float_modulo(a, b));
    case BinaryOp::kPower:
      return Value::real(float_power(a, b));
  }
  raise_overflow();
}

Value repeat(Interpreter& interpreter, const Value& value, int64_t times) {
  Budget& budget = interpreter.budget();
  const auto count = static_cast<uint64_t>(std::max<int64_t>(times, 0));
  if (value.is_string()) {
    const std::string_view unit = value.as<String>().view();
    if (unit.empty() || count == 0) return interpreter.text("", value.as<String>().markup());
    budget.check_size(count > (uint64_t{1} << 32) ? ~uint64_t{0} : count * unit.size());
    std::string result;
    result.reserve(count * unit.size());
    for (uint64_t i = 0; i < count; ++i) result += unit;
    budget.step_bytes(result.size());
    return interpreter.text(std::move(result), value.as<String>().markup());
  }
  const auto& unit = value.as<List>().items();
  std::vector<Value> items;
  if (!unit.empty() && count > 0) {
    budget.check_size(count > (uint64_t{1} << 32) ? ~uint64_t{0} : count * unit.size() * sizeof(Value));
    items.reserve(count * unit.size());
    for (uint64_t i = 0; i < count; ++i) items.insert(items.end(), unit.begin(), unit.end());
    budget.step(items.size());
  }
  return Value(new List(&budget, value.type(), std::move(items)));
}

Value concatenate(Interpreter& interpreter, const Value& left, const Value& right) {
  Budget& budget = interpreter.budget();
  if (left.is_string()) {
    const auto& a = left.as<String>();
    const auto& b = right.as<String>();
    const bool markup = a.markup() || b.markup();
    const std::string first = markup && !a.markup() ? escape_html(a.view()) : std::string(a.view());
    const std::string second = markup && !b.markup() ? escape_html(b.view()) : std::string(b.view());
    budget.check_size(first.size() + second.size());
    budget.step_bytes(first.size() + second.size());
    return interpreter.text(first + second, markup);
  }
  std::vector<Value> items = left.as<List>().items();
  const auto& more = right.as<List>().items();
  items.insert(items.end(), more.begin(), more.end());
  budget.step(items.size());
  return Value(new List(&budget, left.type(), std::move(items)));
}

}  // namespace

bool truthy(const Value& value) {
  switch (value.type()) {
    case Type::kMissing:
    case Type::kNone:
    case Type::kUndefined:
      return false;
    case Type::kBool:
    case Type::kInt:
      return value.as_int() != 0;
    case Type::kFloat:
      return value.as_float() != 0;
    case Type::kIterator:
      return true;
    default:
      return length_of(value) != 0;
  }
}

int64_t length_of(const Value& value) {
  switch (value.type()) {
    case Type::kUndefined:
      return 0;
    case Type::kString:
      return static_cast<int64_t>(value.as<String>().length());
    case Type::kList:
    case Type::kTuple:
      return static_cast<int64_t>(value.as<List>().items().size());
    case Type::kDict:
      return static_cast<int64_t>(value.as<Dict>().entries().size());
    case Type::kDictView:
      return static_cast<int64_t>(value.as<DictView>().dict().entries().size());
    case Type::kRange:
      return value.as<Range>().length;
    default:
      return -1;
  }
}

int64_t require_int(const Value& value) {
  if (value.is_undefined()) raise_undefined(value);
  if (!value.is_integral()) raise(std::string("'") + type_name(value) + "' object cannot be interpreted as an integer");
  return value.as_int();
}

Value binary(Interpreter& interpreter, BinaryOp op, const Value& left, const Value& right) {
  if (left.is_integral() && right.is_integral()) return integers(op, left.as_int(), right.as_int());
  if (left.is_number() && right.is_number()) return floats(op, left.as_float(), right.as_float());
  if (op == BinaryOp::kModulo && left.is_string()) return format_printf(interpreter, left.as<String>(), right);
  if (left.is_undefined()) raise_undefined(left);
  if (right.is_undefined()) raise_undefined(right);
  if (op == BinaryOp::kAdd && (left.is_string() || left.is_sequence()) && left.type() == right.type()) {
    return concatenate(interpreter, left, right);
  }
  if (op == BinaryOp::kMultiply) {
    if ((left.is_string() || left.is_sequence()) && right.is_integral()) {
      return repeat(interpreter, left, right.as_int());
    }
    if ((right.is_string() || right.is_sequence()) && left.is_integral()) {
      return repeat(interpreter, right, left.as_int());
    }
  }
  raise_unsupported(op, left, right);
}

Value negate(const Value& value) {
  if (value.is(Type::kFloat)) return Value::real(-value.as_float());
  if (value.is_integral()) return integers(BinaryOp::kSubtract, 0, value.as_int());
  if (value.is_undefined()) raise_undefined(value);
  raise(std::string("bad operand type for unary -: '") + type_name(value) + "'");
}

Value plus(const Value& value) {
  if (value.is(Type::kFloat)) return value;
  if (value.is_integral()) return Value::integer(value.as_int());
  if (value.is_undefined()) raise_undefined(value);
  raise(std::string("bad operand type for unary +: '") + type_name(value) + "'");
}

}  // namespace carronade::jinja
