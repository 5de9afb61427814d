// Calling macros: how arguments meet parameters (jinja2.runtime.Macro), and the variable `loop`.
#include "text/jinja/codepoints.h"
#include "text/jinja/format_value.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/switch.h"

namespace carronade::jinja {

namespace {

// Takes the value of a keyword argument out of the list; missing if it was not given.
Value take(Arguments& arguments, std::string_view name) {
  for (auto entry = arguments.keyword.begin(); entry != arguments.keyword.end(); ++entry) {
    if (entry->first != name) continue;
    Value value = std::move(entry->second);
    arguments.keyword.erase(entry);
    return value;
  }
  return {};
}

Value& slot_of(Activation& activation, const VariableRef& ref) {
  return activation.slots[static_cast<size_t>(ref.slot)];
}

void bind_special(Interpreter& interpreter, const MacroPlan& plan, Activation& activation, Arguments& arguments,
                  bool found_caller) {
  Budget& budget = interpreter.budget();
  if (plan.wants_caller && !found_caller) {
    Value caller = take(arguments, "caller");
    if (caller.is_missing() || caller.is_none()) caller = interpreter.undefined_hint("No caller defined");
    slot_of(activation, plan.caller) = std::move(caller);
  }
  if (plan.wants_keywords) {
    auto* keywords = new Dict(&budget);
    slot_of(activation, plan.keywords) = Value(keywords);
    for (auto& [name, value] : arguments.keyword) keywords->set(interpreter.text(std::string(name)), value);
  } else if (!arguments.keyword.empty()) {
    const std::string macro = "macro " + repr_text(plan.name);
    for (const auto& [name, value] : arguments.keyword) {
      if (name == "caller") {
        raise(macro + " was invoked with two values for the special caller argument. This is most likely a bug.");
      }
    }
    raise(macro + " takes no keyword argument " + repr_text(arguments.keyword[0].first));
  }
  const size_t count = plan.parameters.size();
  if (plan.wants_positionals) {
    std::vector<Value> rest;
    for (size_t i = count; i < arguments.positional.size(); ++i) rest.push_back(arguments.positional[i]);
    slot_of(activation, plan.positionals) = interpreter.tuple(std::move(rest));
  } else if (arguments.positional.size() > count) {
    raise("macro " + repr_text(plan.name) + " takes not more than " + std::to_string(count) + " argument(s)");
  }
}

}  // namespace

Value Interpreter::call_macro(const Macro& macro, Arguments& arguments) {
  const Nested nested(budget_);
  budget_.step();
  const MacroPlan& plan = macro.plan;
  auto* activation = new Activation(budget_, macro.closure.get(), plan.function.slots);
  const Switch call(*this, activation);
  Capture capture(*this);
  const size_t given = std::min(arguments.positional.size(), plan.parameters.size());
  bool found_caller = given == plan.parameters.size() && plan.explicit_caller;
  for (size_t i = 0; i < plan.parameters.size(); ++i) {
    const NameExpr& name = *plan.parameters[i].name;
    Value& slot = slot_of(*activation, name.ref);
    if (i < given) {
      slot = arguments.positional[i];
      continue;
    }
    slot = take(arguments, name.text());
    found_caller = found_caller || name.text() == "caller";
  }
  bind_special(*this, plan, *activation, arguments, found_caller);
  enter(plan.scope);
  for (const auto& [name, fallback] : plan.parameters) {
    if (!slot_of(*activation, name->ref).is_missing()) continue;
    Value value = fallback ? eval(*fallback) : undefined_hint("parameter " + repr(name->name) + " was not provided");
    slot_of(*activation, name->ref) = std::move(value);
  }
  exec(plan.body);
  return capture.value();
}

bool Loop::next(Interpreter& interpreter, Value& item) {
  if (!after_.is_missing()) {
    item = std::exchange(after_, Value());
  } else if (!interpreter.iterator_next(iterator, item)) {
    return false;
  }
  ++index0;
  before_ = std::move(current_);
  current_ = item;
  return true;
}

const Value& Loop::peek(Interpreter& interpreter) {
  if (!after_.is_missing()) return after_;
  Value item;
  after_ = interpreter.iterator_next(iterator, item) ? std::move(item) : Value();
  return after_;
}

int64_t Loop::length(Interpreter& interpreter) {
  if (length_ >= 0) return length_;
  length_ = length_of(iterable);
  if (length_ >= 0) return length_;
  const Value rest = interpreter.list(interpreter.to_vector(iterator));
  length_ = length_of(rest) + index0 + 1 + (after_.is_missing() ? 0 : 1);
  iterator = interpreter.iterator(rest);
  return length_;
}

bool Loop::changed(Interpreter& interpreter, std::vector<Value> values) {
  Value now = interpreter.tuple(std::move(values));
  if (!last_changed_.is_missing() && equal(last_changed_, now)) return false;
  last_changed_ = std::move(now);
  return true;
}

std::optional<Value> Loop::attribute(Interpreter& interpreter, std::string_view name) {
  if (name == "index0") return Value::integer(index0);
  if (name == "index") return Value::integer(index0 + 1);
  if (name == "first") return Value::boolean(index0 == 0);
  if (name == "last") return Value::boolean(peek(interpreter).is_missing());
  if (name == "length") return Value::integer(length(interpreter));
  if (name == "revindex0") return Value::integer(length(interpreter) - index0 - 1);
  if (name == "revindex") return Value::integer(length(interpreter) - index0);
  if (name == "depth") return Value::integer(depth0 + 1);
  if (name == "depth0") return Value::integer(depth0);
  if (name == "previtem") return index0 == 0 ? interpreter.undefined_hint("there is no previous item") : before_;
  if (name == "nextitem") {
    const Value& after = peek(interpreter);
    return after.is_missing() ? interpreter.undefined_hint("there is no next item") : after;
  }
  return std::nullopt;
}

}  // namespace carronade::jinja
