// Python's operators on values. An operand of the wrong type throws Error{kInvalidArgument} with Python's words.
#pragma once

#include <cstdint>
#include <string_view>

#include "text/jinja/value.h"

namespace carronade::jinja {

enum class BinaryOp : uint8_t { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
enum class CompareOp : uint8_t { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

bool truthy(const Value& value);
bool equal(const Value& left, const Value& right);
// left < right, as sorting asks for it.
bool less(Budget& budget, const Value& left, const Value& right);
bool compare(Interpreter& interpreter, CompareOp op, const Value& left, const Value& right);
bool contains(Interpreter& interpreter, const Value& container, const Value& item);

Value binary(Interpreter& interpreter, BinaryOp op, const Value& left, const Value& right);
Value negate(const Value& value);
Value plus(const Value& value);

// Equal values of any type hash alike. Throws for lists and dicts, which have no hash.
size_t hash_value(const Value& value);
size_t hash_text(std::string_view text);

// len(value), or -1 where Python knows none.
int64_t length_of(const Value& value);

// An index argument: bool or int. Throws a TypeError's message otherwise.
int64_t require_int(const Value& value);

}  // namespace carronade::jinja
