// The expression half of the interpreter.
#include "text/jinja/builtins.h"
#include "text/jinja/codepoints.h"
#include "text/jinja/format_value.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"

namespace carronade::jinja {

Value Interpreter::eval(const Expr& expr) {
  budget_.step();
  switch (expr.kind) {
    case Expr::Kind::kConst:
      return static_cast<const ConstExpr&>(expr).value;
    case Expr::Kind::kName:
      return eval_name(static_cast<const NameExpr&>(expr));
    default:
      break;
  }
  const Nested nested(budget_);
  switch (expr.kind) {
    case Expr::Kind::kTuple:
    case Expr::Kind::kList: {
      const auto& node = static_cast<const SequenceExpr&>(expr);
      std::vector<Value> items;
      items.reserve(node.items.size());
      for (const auto& item : node.items) items.push_back(eval(*item));
      return expr.kind == Expr::Kind::kList ? list(std::move(items)) : tuple(std::move(items));
    }
    case Expr::Kind::kDict:
      return eval_dict(static_cast<const DictExpr&>(expr));
    case Expr::Kind::kNot:
      return Value::boolean(!truthy(eval(*static_cast<const UnaryExpr&>(expr).operand)));
    case Expr::Kind::kNegate:
      return negate(eval(*static_cast<const UnaryExpr&>(expr).operand));
    case Expr::Kind::kPlus:
      return plus(eval(*static_cast<const UnaryExpr&>(expr).operand));
    case Expr::Kind::kBinary: {
      const auto& node = static_cast<const BinaryExpr&>(expr);
      const Value left = eval(*node.left);
      const Value right = eval(*node.right);
      offset_ = expr.offset;
      return binary(*this, node.op, left, right);
    }
    case Expr::Kind::kAnd:
    case Expr::Kind::kOr: {
      const auto& node = static_cast<const BinaryExpr&>(expr);
      Value left = eval(*node.left);
      return truthy(left) == (expr.kind == Expr::Kind::kAnd) ? eval(*node.right) : left;
    }
    case Expr::Kind::kConcat:
      return eval_concat(static_cast<const SequenceExpr&>(expr));
    case Expr::Kind::kCompare:
      return eval_compare(static_cast<const CompareExpr&>(expr));
    case Expr::Kind::kCondition: {
      const auto& node = static_cast<const ConditionExpr&>(expr);
      if (truthy(eval(*node.test))) return eval(*node.then);
      if (node.otherwise) return eval(*node.otherwise);
      return undefined_hint("the inline if-expression evaluated to false and no else section was defined.");
    }
    case Expr::Kind::kAttribute: {
      const auto& node = static_cast<const AttributeExpr&>(expr);
      const Value object = eval(*node.object);
      offset_ = expr.offset;
      return get_attribute(object, node.name);
    }
    case Expr::Kind::kItem:
      return eval_item(static_cast<const ItemExpr&>(expr));
    case Expr::Kind::kCall:
      return eval_call(static_cast<const CallExpr&>(expr), nullptr);
    case Expr::Kind::kFilter:
      return eval_filter(static_cast<const FilterExpr&>(expr), nullptr);
    case Expr::Kind::kTest:
      return Value::boolean(eval_test(static_cast<const TestExpr&>(expr)));
    case Expr::Kind::kConst:
    case Expr::Kind::kName:
    case Expr::Kind::kNamespaceRef:
    case Expr::Kind::kSlice:
      break;
  }
  raise("this expression has no value");
}

Value Interpreter::eval_name(const NameExpr& node) {
  const Value& value = slot(node.ref);
  return value.is_missing() ? undefined(node.name, Value()) : value;
}

Value Interpreter::eval_dict(const DictExpr& node) {
  auto* dict = new Dict(&budget_);
  Value result(dict);
  dict->reserve(node.items.size());
  for (const auto& [key, value] : node.items) {
    Value evaluated_key = eval(*key);
    dict->set(std::move(evaluated_key), eval(*value));
  }
  return result;
}

Value Interpreter::eval_concat(const SequenceExpr& node) {
  std::vector<Value> parts;  // all are evaluated before any is printed
  parts.reserve(node.items.size());
  for (const auto& item : node.items) parts.push_back(eval(*item));
  std::string result;
  for (const Value& part : parts) {
    append_str(result, part);
    budget_.check_size(result.size());
  }
  budget_.step_bytes(result.size());
  return text(std::move(result));
}

Value Interpreter::eval_compare(const CompareExpr& node) {
  Value left = eval(*node.first);
  for (const auto& [op, operand] : node.rest) {
    Value right = eval(*operand);
    offset_ = node.offset;
    if (!compare(*this, op, left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::eval_item(const ItemExpr& node) {
  const Value object = eval(*node.object);
  if (node.index->kind != Expr::Kind::kSlice) {
    const Value index = eval(*node.index);
    offset_ = node.offset;
    return get_item(object, index);
  }
  const auto& bounds = static_cast<const SliceExpr&>(*node.index);
  const auto bound = [&](const ExprPtr& expr) { return expr ? eval(*expr) : Value::none(); };
  const Value start = bound(bounds.start);
  const Value stop = bound(bounds.stop);
  const Value step = bound(bounds.step);
  offset_ = node.offset;
  return slice(object, start, stop, step);
}

Arguments Interpreter::eval_arguments(const ArgumentExprs& exprs) {
  Arguments result;
  result.positional.reserve(exprs.positional.size());
  for (const auto& expr : exprs.positional) result.positional.push_back(eval(*expr));
  for (const auto& [name, expr] : exprs.keyword) result.keyword.emplace_back(name, eval(*expr));
  if (exprs.more_positional) {
    for_each(eval(*exprs.more_positional), [&](const Value& item) { result.positional.push_back(item); });
  }
  if (!exprs.more_keyword) return result;
  Value more = eval(*exprs.more_keyword);
  if (!more.is(Type::kDict)) raise(std::string("argument after ** must be a mapping, not ") + type_name(more));
  for (const auto& [key, value] : more.as<Dict>().entries()) {
    if (!key.is_string()) raise("keywords must be strings");
    const std::string_view name = key.as<String>().view();
    for (const auto& [other, ignored] : result.keyword) {
      if (other == name) raise("got multiple values for keyword argument " + repr(key));
    }
    result.keyword.emplace_back(name, value);
  }
  result.owners.push_back(std::move(more));
  return result;
}

Value Interpreter::eval_call(const CallExpr& node, const Value* caller) {
  const auto arguments_of_call = [&] {
    Arguments arguments = eval_arguments(node.arguments);
    if (caller) arguments.keyword.emplace_back("caller", *caller);
    return arguments;
  };
  if (node.callee->kind != Expr::Kind::kAttribute) {
    const Value callee = eval(*node.callee);
    Arguments arguments = arguments_of_call();
    offset_ = node.offset;
    return call(callee, arguments);
  }
  // A method is called on the spot, without an object that binds it.
  const auto& attribute = static_cast<const AttributeExpr&>(*node.callee);
  const Value object = eval(*attribute.object);
  offset_ = attribute.offset;
  if (const NativeFunction method = find_method(object, attribute.name.as<String>().view())) {
    Arguments arguments = arguments_of_call();
    offset_ = node.offset;
    return method(*this, object, arguments);
  }
  const Value callee = get_attribute(object, attribute.name);
  Arguments arguments = arguments_of_call();
  offset_ = node.offset;
  return call(callee, arguments);
}

Value Interpreter::call(const Value& callee, Arguments& arguments) {
  switch (callee.type()) {
    case Type::kFunction: {
      const auto& function = callee.as<Function>();
      return function.function(*this, function.self, arguments);
    }
    case Type::kMacro:
      return call_macro(callee.as<Macro>(), arguments);
    case Type::kUndefined:
      raise_undefined(callee);
    case Type::kLoop:
      if (arguments.positional.size() != 1 || !arguments.keyword.empty()) raise("loop() takes one argument");
      return recurse(callee.as<Loop>(), arguments.positional[0]);
    case Type::kJoiner: {
      auto& joiner = callee.as<Joiner>();
      return std::exchange(joiner.used, true) ? joiner.separator : text("");
    }
    default:
      raise(std::string("'") + type_name(callee) + "' object is not callable");
  }
}

Value Interpreter::macro_value(const MacroPlan& plan) { return Value(new Macro(budget_, plan, activation_)); }

void Interpreter::exec_call_block(const CallBlockStmt& node) {
  const Value caller = macro_value(node.macro);
  append_string(eval_call(static_cast<const CallExpr&>(*node.call), &caller));
}

Value Interpreter::eval_filter(const FilterExpr& node, const Value* block_text) {
  Value input;
  if (!node.input) {
    input = *block_text;
  } else if (block_text && node.input->kind == Expr::Kind::kFilter) {
    input = eval_filter(static_cast<const FilterExpr&>(*node.input), block_text);
  } else {
    input = eval(*node.input);
  }
  if (!node.filter) raise("No filter named '" + node.name + "' found.");
  Arguments arguments = eval_arguments(node.arguments);
  offset_ = node.offset;
  return node.filter(*this, input, arguments);
}

bool Interpreter::eval_test(const TestExpr& node) {
  const Value input = eval(*node.input);
  if (!node.test) raise("No test named '" + node.name + "' found.");
  if (node.arguments.positional.empty() && node.arguments.keyword.empty() && !node.arguments.more_positional &&
      !node.arguments.more_keyword) {
    Arguments none;
    offset_ = node.offset;
    return node.test(*this, input, none);
  }
  Arguments arguments = eval_arguments(node.arguments);
  offset_ = node.offset;
  return node.test(*this, input, arguments);
}

}  // namespace carronade::jinja
