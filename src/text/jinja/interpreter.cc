#include "text/jinja/interpreter.h"

#include "base/error.h"
#include "text/jinja/builtins.h"
#include "text/jinja/codepoints.h"
#include "text/jinja/format_value.h"
#include "text/jinja/json.h"
#include "text/jinja/operators.h"
#include "text/jinja/switch.h"

namespace carronade::jinja {

Interpreter::Interpreter(const Template& tree, const nlohmann::ordered_json& context, Budget& budget)
    : template_(tree),
      context_(context),
      budget_(budget),
      context_values_(tree.context_names.size()),
      context_known_(tree.context_names.size()) {}

std::string Interpreter::run() {
  std::string output;
  out_ = &output;
  const Switch call(*this, new Activation(budget_, nullptr, template_.function.slots));
  enter(template_.scope);
  exec(template_.body);
  if (!is_valid_utf8(output)) raise("the text has surrogates or invalid bytes, which UTF-8 does not allow");
  return output;
}

Value Interpreter::text(std::string text, bool markup) { return Value(new String(&budget_, std::move(text), markup)); }
Value Interpreter::list(std::vector<Value> items) { return Value(new List(&budget_, Type::kList, std::move(items))); }
Value Interpreter::tuple(std::vector<Value> items) { return Value(new List(&budget_, Type::kTuple, std::move(items))); }

Value Interpreter::undefined(Value name, const Value& owner) {
  return Value(new Undefined(&budget_, std::move(name), owner.is_missing() ? nullptr : type_name(owner), {}, false));
}
Value Interpreter::undefined_hint(std::string hint) {
  return Value(new Undefined(&budget_, Value(), nullptr, std::move(hint), false));
}

Value& Interpreter::slot(const VariableRef& ref) {
  Activation* activation = activation_;
  for (int hop = 0; hop < ref.hops; ++hop) activation = activation->parent();
  return activation->slots[static_cast<size_t>(ref.slot)];
}

const Value& Interpreter::context_value(int index) {
  const auto i = static_cast<size_t>(index);
  if (!context_known_[i]) {
    context_known_[i] = true;
    const std::string& name = template_.context_names[i];
    if (const auto found = context_.find(name); found != context_.end()) {
      context_values_[i] = from_json(budget_, *found);
    } else {
      context_values_[i] = find_global(*this, name);
    }
  }
  return context_values_[i];
}

void Interpreter::append(std::string_view text) {
  budget_.check_size(out_->size() + text.size());
  out_->append(text);
}

void Interpreter::append_string(const Value& value) {
  if (!value.is_string()) raise(std::string("sequence item 0: expected str instance, ") + type_name(value) + " found");
  append(value.as<String>().view());
}

void Interpreter::enter(const ScopePlan& scope) {
  for (const SlotLoad& load : scope.loads) {
    Value value;
    if (load.from == SlotLoad::From::kContext) value = context_value(load.context);
    if (load.from == SlotLoad::From::kOuter) value = slot(load.outer);
    activation_->slots[static_cast<size_t>(load.slot)] = std::move(value);
  }
}

void Interpreter::leave(const ScopePlan& scope) {
  for (int slot : scope.clears) activation_->slots[static_cast<size_t>(slot)] = Value();
}

Interpreter::Flow Interpreter::exec(const Body& body) {
  const Nested nested(budget_);
  for (const auto& stmt : body) {
    const Flow flow = exec(*stmt);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::exec(const Stmt& stmt) {
  budget_.step();
  offset_ = stmt.offset;
  switch (stmt.kind) {
    case Stmt::Kind::kOutput:
      exec_output(static_cast<const OutputStmt&>(stmt));
      break;
    case Stmt::Kind::kFor:
      return exec_for(static_cast<const ForStmt&>(stmt));
    case Stmt::Kind::kIf:
      return exec_if(static_cast<const IfStmt&>(stmt));
    case Stmt::Kind::kAssign:
      exec_assign(static_cast<const AssignStmt&>(stmt));
      break;
    case Stmt::Kind::kAssignBlock:
      return exec_assign_block(static_cast<const AssignBlockStmt&>(stmt));
    case Stmt::Kind::kMacro: {
      const auto& node = static_cast<const MacroStmt&>(stmt);
      assign(*node.target, macro_value(node.macro));
      break;
    }
    case Stmt::Kind::kCallBlock:
      exec_call_block(static_cast<const CallBlockStmt&>(stmt));
      break;
    case Stmt::Kind::kFilterBlock:
      return exec_filter_block(static_cast<const FilterBlockStmt&>(stmt));
    case Stmt::Kind::kWith:
      return exec_with(static_cast<const WithStmt&>(stmt));
    case Stmt::Kind::kBlock:
      exec_block(static_cast<const BlockStmt&>(stmt));
      break;
    case Stmt::Kind::kBreak:
      return Flow::kBreak;
    case Stmt::Kind::kContinue:
      return Flow::kContinue;
    case Stmt::Kind::kGeneration: {
      Arguments none;
      append_str(*out_, call(macro_value(static_cast<const GenerationStmt&>(stmt).macro), none));
      budget_.check_size(out_->size());
      break;
    }
    case Stmt::Kind::kScope: {
      const auto& node = static_cast<const ScopeStmt&>(stmt);
      enter(node.scope);
      const Flow flow = exec(node.body);
      leave(node.scope);
      return flow;
    }
    case Stmt::Kind::kNoLoader:
      raise("no loader for this environment specified");
  }
  return Flow::kNext;
}

void Interpreter::exec_output(const OutputStmt& node) {
  for (const auto& piece : node.pieces) {
    if (!piece.expression) {
      append(piece.text);
      continue;
    }
    const Value value = eval(*piece.expression);
    if (value.is_string()) {
      append(value.as<String>().view());
    } else {
      append_str(*out_, value);
      budget_.check_size(out_->size());
    }
  }
}

Interpreter::Flow Interpreter::exec_if(const IfStmt& node) {
  for (const auto& branch : node.branches) {
    if (truthy(eval(*branch.test))) return exec(branch.body);
  }
  return exec(node.otherwise);
}

void Interpreter::check_namespaces(const Expr& target) {
  if (target.kind == Expr::Kind::kNamespaceRef) {
    if (!slot(static_cast<const NamespaceRefExpr&>(target).ref).is(Type::kNamespace)) {
      raise("cannot assign attribute on non-namespace object");
    }
  } else if (target.kind == Expr::Kind::kTuple) {
    for (const auto& item : static_cast<const SequenceExpr&>(target).items) check_namespaces(*item);
  }
}

void Interpreter::exec_assign(const AssignStmt& node) {
  check_namespaces(*node.target);
  const Value value = eval(*node.value);
  assign(*node.target, value);
}

void Interpreter::assign(const Expr& target, const Value& value) {
  switch (target.kind) {
    case Expr::Kind::kName: {
      const auto& name = static_cast<const NameExpr&>(target);
      activation_->slots[static_cast<size_t>(name.ref.slot)] = value;
      if (name.exported >= 0 && template_.has_blocks) {
        context_values_[static_cast<size_t>(name.exported)] = value;
        context_known_[static_cast<size_t>(name.exported)] = true;
      }
      break;
    }
    case Expr::Kind::kNamespaceRef: {
      const auto& ref = static_cast<const NamespaceRefExpr&>(target);
      const Value object = slot(ref.ref);
      if (!object.is(Type::kNamespace)) {
        raise(std::string("'") + type_name(object) + "' object does not support item assignment");
      }
      check_namespace_name(ref.attribute.as<String>().view());
      object.as<Namespace>().attributes.set(ref.attribute, value);
      break;
    }
    default:
      unpack(static_cast<const SequenceExpr&>(target), value);
  }
}

void Interpreter::unpack(const SequenceExpr& target, const Value& value) {
  const size_t wanted = target.items.size();
  std::vector<Value> items;
  const Value source = iterator(value);
  Value item;
  while (items.size() <= wanted && iterator_next(source, item)) items.push_back(item);
  if (items.size() > wanted) raise("too many values to unpack (expected " + std::to_string(wanted) + ")");
  if (items.size() < wanted) {
    raise("not enough values to unpack (expected " + std::to_string(wanted) + ", got " + std::to_string(items.size()) +
          ")");
  }
  for (size_t i = 0; i < wanted; ++i) assign(*target.items[i], items[i]);
}

Interpreter::Flow Interpreter::exec_assign_block(const AssignBlockStmt& node) {
  enter(node.scope);
  Capture capture(*this);
  const Flow flow = exec(node.body);
  if (flow == Flow::kNext) {
    Value value = capture.value();
    if (node.filter) value = eval_filter(static_cast<const FilterExpr&>(*node.filter), &value);
    check_namespaces(*node.target);
    assign(*node.target, value);
  }
  leave(node.scope);
  return flow;
}

Interpreter::Flow Interpreter::exec_filter_block(const FilterBlockStmt& node) {
  enter(node.scope);
  Value value;
  Flow flow;
  {
    Capture capture(*this);
    flow = exec(node.body);
    value = capture.value();
  }
  if (flow == Flow::kNext) append_string(eval_filter(static_cast<const FilterExpr&>(*node.filter), &value));
  leave(node.scope);
  return flow;
}

Interpreter::Flow Interpreter::exec_with(const WithStmt& node) {
  enter(node.scope);
  for (const auto& [target, value] : node.assignments) assign(*target, eval(*value));
  const Flow flow = exec(node.body);
  leave(node.scope);
  return flow;
}

void Interpreter::exec_block(const BlockStmt& node) {
  if (node.required) raise("Required block '" + node.name + "' not found");
  std::vector<std::pair<size_t, Value>> hidden;
  for (const auto& [index, ref] : node.overlay) {
    const Value& value = slot(ref);
    if (value.is_missing()) continue;
    const auto i = static_cast<size_t>(index);
    hidden.emplace_back(i, context_value(index));
    context_values_[i] = value;
  }
  {
    const Switch call(*this, new Activation(budget_, nullptr, node.function.slots));
    enter(node.scope);
    exec(node.body);
  }
  for (auto& [index, value] : hidden) context_values_[index] = std::move(value);
}

Interpreter::Flow Interpreter::exec_for(const ForStmt& node) {
  const Value iterable = eval(*node.iterable);
  if (!node.recursive) return run_loop(node, iterable, activation_, 0);
  Value text;
  {
    Capture capture(*this);
    Activation* outer = activation_;
    const Switch call(*this, new Activation(budget_, outer, node.function.slots));
    run_loop(node, iterable, outer, 0);
    text = capture.value();
  }
  append(text.as<String>().view());
  return Flow::kNext;
}

Value Interpreter::recurse(Loop& loop, const Value& iterable) {
  if (!loop.node.recursive) raise("The loop must have the 'recursive' marker to be called recursively.");
  const Nested nested(budget_);
  Capture capture(*this);
  const Switch call(*this, new Activation(budget_, loop.outer.get(), loop.node.function.slots));
  run_loop(loop.node, iterable, loop.outer.get(), loop.depth0 + 1);
  return capture.value();
}

namespace {

// The items of a loop with an `if` that pass it, tested one at a time: the loop's body may change what the test asks.
class FilteredItems final : public Iterator {
 public:
  FilteredItems(Budget& budget, const ForStmt& node, Value source, Activation* activation)
      : Iterator(&budget), node_(node), source_(std::move(source)), activation_(activation) {}

  bool next(Interpreter& interpreter, Value& item) override {
    while (interpreter.iterator_next(source_, item)) {
      if (interpreter.passes_filter(node_, *activation_.get(), item)) return true;
    }
    return false;
  }

 private:
  const ForStmt& node_;
  Value source_;
  ActivationRef activation_;
};

}  // namespace

bool Interpreter::passes_filter(const ForStmt& node, Activation& activation, const Value& item) {
  const Switch call(*this, &activation);
  assign(*node.filter_target, item);
  return truthy(eval(*node.filter));
}

Interpreter::Flow Interpreter::run_loop(const ForStmt& node, const Value& iterable, Activation* outer, int64_t depth0) {
  Value items = iterator(iterable);
  Value counted = iterable;
  if (node.filter) {
    auto* activation = new Activation(budget_, activation_, node.filter_function.slots);
    items = Value(new FilteredItems(budget_, node, items, activation));
    counted = items;
    const Switch call(*this, activation);
    enter(node.filter_scope);
  }
  Value loop;
  if (node.has_loop) loop = Value(new Loop(budget_, node, outer, counted, items, depth0));
  bool nothing_done = true;  // as Jinja2 sees it: no iteration reached the end of the body
  Value item;
  while (node.has_loop ? loop.as<Loop>().next(*this, item) : iterator_next(items, item)) {
    budget_.step();
    if (node.has_loop) slot(node.loop) = loop;
    assign(*node.target, item);
    enter(node.scope);
    const Flow flow = exec(node.body);
    if (flow == Flow::kBreak) break;
    if (flow == Flow::kNext) nothing_done = false;
  }
  leave(node.scope);
  Flow flow = Flow::kNext;
  if (nothing_done && !node.otherwise.empty()) {
    enter(node.otherwise_scope);
    flow = exec(node.otherwise);
    leave(node.otherwise_scope);
  }
  return flow;
}

}  // namespace carronade::jinja
