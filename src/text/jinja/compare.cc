#include "text/jinja/compare.h"

#include <bit>
#include <cmath>
#include <functional>

#include "text/jinja/format_value.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/search.h"

namespace carronade::jinja {

namespace {

constexpr int kMaxComparedNesting = 400;  // below what the stack holds, above any sensible data

// Exact, also where an integer has no exact double. Unordered (nan): 2.
int order_numbers(const Value& left, const Value& right) {
  if (left.is_integral() && right.is_integral()) {
    return left.as_int() < right.as_int() ? -1 : left.as_int() > right.as_int();
  }
  if (left.is(Type::kFloat) && right.is(Type::kFloat)) {
    const double a = left.as_float();
    const double b = right.as_float();
    return std::isnan(a) || std::isnan(b) ? 2 : a < b ? -1 : a > b;
  }
  if (left.is(Type::kFloat)) {
    const int reversed = order_numbers(right, left);
    return reversed == 2 ? 2 : -reversed;
  }
  const double b = right.as_float();
  if (std::isnan(b)) return 2;
  if (b >= 9223372036854775808.0) return -1;
  if (b < -9223372036854775808.0) return 1;
  const double whole = std::trunc(b);
  const auto integer = static_cast<int64_t>(whole);
  if (left.as_int() != integer) return left.as_int() < integer ? -1 : 1;
  return whole < b ? -1 : whole > b;
}

bool equal_at(const Value& left, const Value& right, int nesting);

void step_for(const Value& value) {
  if (Budget* budget = value.object()->budget()) budget->step();
}

bool equal_items(const std::vector<Value>& left, const std::vector<Value>& right, int nesting) {
  if (left.size() != right.size()) return false;
  for (size_t i = 0; i < left.size(); ++i) {
    if (!left[i].same_as(right[i]) && !equal_at(left[i], right[i], nesting)) return false;
  }
  return true;
}

bool equal_dicts(const Dict& left, const Dict& right, int nesting) {
  if (left.entries().size() != right.entries().size()) return false;
  for (const auto& [key, value] : left.entries()) {
    const Value* other = right.find(key);
    if (!other || (!value.same_as(*other) && !equal_at(value, *other, nesting))) return false;
  }
  return true;
}

bool equal_ranges(const Range& a, const Range& b) {
  if (a.length != b.length) return false;
  return a.length == 0 || (a.start == b.start && (a.length == 1 || a.step == b.step));
}

bool equal_views(const DictView& left, const DictView& right, int nesting) {
  if (&left == &right) return true;
  if (left.kind() != right.kind() || left.kind() == DictView::Kind::kValues) return false;
  if (left.kind() == DictView::Kind::kItems) return equal_dicts(left.dict(), right.dict(), nesting);
  if (left.dict().entries().size() != right.dict().entries().size()) return false;
  for (const auto& [key, value] : left.dict().entries()) {
    if (!right.dict().find(key)) return false;
  }
  return true;
}

bool equal_at(const Value& left, const Value& right, int nesting) {
  if (left.is_number() && right.is_number()) return order_numbers(left, right) == 0;
  if (left.type() != right.type()) return false;
  if (!left.is_object()) return left.same_as(right);
  if (nesting > kMaxComparedNesting) raise("maximum recursion depth exceeded in comparison");
  step_for(left);
  switch (left.type()) {
    case Type::kUndefined:
      return true;
    case Type::kString:
      return left.as<String>().view() == right.as<String>().view();
    case Type::kList:
    case Type::kTuple:
      return equal_items(left.as<List>().items(), right.as<List>().items(), nesting + 1);
    case Type::kDict:
      return equal_dicts(left.as<Dict>(), right.as<Dict>(), nesting + 1);
    case Type::kDictView:
      return equal_views(left.as<DictView>(), right.as<DictView>(), nesting + 1);
    case Type::kRange:
      return equal_ranges(left.as<Range>(), right.as<Range>());
    default:
      return left.same_as(right);
  }
}

int order_at(Budget& budget, const Value& left, const Value& right, const char* op, int nesting) {
  budget.step();
  if (left.is_number() && right.is_number()) return order_numbers(left, right);
  if (left.is_undefined()) raise_undefined(left);
  if (right.is_undefined()) raise_undefined(right);
  if (left.is_string() && right.is_string()) {
    // The order of UTF-8's bytes is that of the characters.
    const int result = left.as<String>().view().compare(right.as<String>().view());
    return result < 0 ? -1 : result > 0;
  }
  if (!left.is_sequence() || left.type() != right.type()) {
    raise(std::string("'") + op + "' not supported between instances of '" + type_name(left) + "' and '" +
          type_name(right) + "'");
  }
  if (nesting > kMaxComparedNesting) raise("maximum recursion depth exceeded in comparison");
  const auto& a = left.as<List>().items();
  const auto& b = right.as<List>().items();
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (a[i].same_as(b[i]) || equal_at(a[i], b[i], nesting + 1)) continue;
    return order_at(budget, a[i], b[i], op, nesting + 1);
  }
  return a.size() < b.size() ? -1 : a.size() > b.size();
}

}  // namespace

bool equal(const Value& left, const Value& right) { return equal_at(left, right, 0); }

int order(Budget& budget, const Value& left, const Value& right, const char* op) {
  return order_at(budget, left, right, op, 0);
}

bool less(Budget& budget, const Value& left, const Value& right) { return order(budget, left, right, "<") == -1; }

bool compare(Interpreter& interpreter, CompareOp op, const Value& left, const Value& right) {
  Budget& budget = interpreter.budget();
  switch (op) {
    case CompareOp::kEqual:
      return equal(left, right);
    case CompareOp::kNotEqual:
      return !equal(left, right);
    case CompareOp::kLess:
      return order(budget, left, right, "<") == -1;
    case CompareOp::kLessEqual: {
      const int result = order(budget, left, right, "<=");
      return result == -1 || result == 0;
    }
    case CompareOp::kGreater:
      return order(budget, left, right, ">") == 1;
    case CompareOp::kGreaterEqual: {
      const int result = order(budget, left, right, ">=");
      return result == 1 || result == 0;
    }
    case CompareOp::kIn:
      return contains(interpreter, right, left);
    case CompareOp::kNotIn:
      return !contains(interpreter, right, left);
  }
  return false;
}

bool contains(Interpreter& interpreter, const Value& container, const Value& item) {
  switch (container.type()) {
    case Type::kString:
      if (!item.is_string()) {
        raise(std::string("'in <string>' requires string as left operand, not ") + type_name(item));
      }
      interpreter.budget().step_bytes(container.as<String>().view().size());
      return find_text(container.as<String>().view(), item.as<String>().view(), 0) != std::string_view::npos;
    case Type::kDict:
      return container.as<Dict>().find(item) != nullptr;
    case Type::kDictView:
      if (container.as<DictView>().kind() == DictView::Kind::kKeys) {
        return container.as<DictView>().dict().find(item) != nullptr;
      }
      break;
    case Type::kNamespace:
    case Type::kMacro:
    case Type::kFunction:
    case Type::kCycler:
    case Type::kJoiner:
    case Type::kNone:
    case Type::kBool:
    case Type::kInt:
    case Type::kFloat:
      raise(std::string("argument of type '") + type_name(container) + "' is not iterable");
    default:
      break;
  }
  const Value items = interpreter.iterator(container);
  Value candidate;
  while (interpreter.iterator_next(items, candidate)) {
    interpreter.budget().step();
    if (candidate.same_as(item) || equal(candidate, item)) return true;
  }
  return false;
}

size_t hash_text(std::string_view text) { return std::hash<std::string_view>{}(text); }

size_t hash_value(const Value& value) {
  switch (value.type()) {
    case Type::kBool:
    case Type::kInt:
      return std::hash<int64_t>{}(value.as_int());
    case Type::kFloat: {
      const double number = value.as_float();
      const bool whole = number >= -9e18 && number <= 9e18 && number == std::trunc(number);
      return whole ? std::hash<int64_t>{}(static_cast<int64_t>(number)) : std::hash<double>{}(number);
    }
    case Type::kString:
      return hash_text(value.as<String>().view());
    case Type::kTuple: {
      size_t result = 0x345678;
      for (const Value& item : value.as<List>().items()) result = std::rotl(result, 5) ^ (hash_value(item) * 31);
      return result;
    }
    case Type::kRange:
      return static_cast<size_t>(value.as<Range>().length);
    case Type::kUndefined:
      return 0x5EED;
    case Type::kList:
    case Type::kDict:
    case Type::kDictView:
      raise(std::string("unhashable type: '") + type_name(value) + "'");
    case Type::kMissing:
    case Type::kNone:
      return 0xFCA86420;
    default:
      return std::hash<const void*>{}(value.object());
  }
}

}  // namespace carronade::jinja
