// Runs a parsed template. One object, one rendering, one thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "text/jinja/ast.h"
#include "text/jinja/budget.h"
#include "text/jinja/value.h"

namespace carronade::jinja {

// The variables of one call of a function.
class Activation final : public Object, private Cyclic {
 public:
  Activation(Budget& budget, Activation* parent, int slots)
      : Object(&budget, Type::kMissing, sizeof(Activation) + static_cast<size_t>(slots) * sizeof(Value)),
        Cyclic(budget),
        parent_(parent),
        slots(static_cast<size_t>(slots)) {
    if (parent_) parent_->retain();
  }
  ~Activation() override {
    if (parent_) parent_->release();
  }
  Activation* parent() const { return parent_; }

 private:
  void clear_references() override {
    for (Value& slot : slots) slot = Value();
    if (parent_) std::exchange(parent_, nullptr)->release();
  }
  Activation* parent_;

 public:
  std::vector<Value> slots;
};

class ActivationRef {
 public:
  explicit ActivationRef(Activation* activation) : activation_(activation) { activation_->retain(); }
  ActivationRef(const ActivationRef& other) : ActivationRef(other.activation_) {}
  ActivationRef& operator=(const ActivationRef&) = delete;
  ~ActivationRef() { activation_->release(); }
  Activation* get() const { return activation_; }

 private:
  Activation* activation_;
};

class Macro final : public Object {
 public:
  Macro(Budget& budget, const MacroPlan& plan, Activation* closure)
      : Object(&budget, Type::kMacro, sizeof(Macro)), plan(plan), closure(closure) {}
  const MacroPlan& plan;
  ActivationRef closure;
};

// The variable `loop`: jinja2.runtime.LoopContext.
class Loop final : public Object {
 public:
  Loop(Budget& budget, const ForStmt& node, Activation* outer, Value iterable, Value iterator, int64_t depth0)
      : Object(&budget, Type::kLoop, sizeof(Loop)),
        node(node),
        outer(outer),
        iterable(std::move(iterable)),
        iterator(std::move(iterator)),
        depth0(depth0) {}
  bool next(Interpreter& interpreter, Value& item);
  // The item after the current one; missing at the end.
  const Value& peek(Interpreter& interpreter);
  int64_t length(Interpreter& interpreter);
  std::optional<Value> attribute(Interpreter& interpreter, std::string_view name);
  bool changed(Interpreter& interpreter, std::vector<Value> values);

  const ForStmt& node;
  ActivationRef outer;
  Value iterable, iterator;
  int64_t depth0;
  int64_t index0 = -1;

 private:
  Value before_, current_, after_, last_changed_;
  int64_t length_ = -1;
};

class Cycler final : public Object {
 public:
  Cycler(Budget& budget, Value items) : Object(&budget, Type::kCycler, sizeof(Cycler)), items(std::move(items)) {}
  Value items;  // tuple
  size_t position = 0;
};

class Joiner final : public Object {
 public:
  Joiner(Budget& budget, Value separator)
      : Object(&budget, Type::kJoiner, sizeof(Joiner)), separator(std::move(separator)) {}
  Value separator;
  bool used = false;
};

class Interpreter {
 public:
  Interpreter(const Template& tree, const nlohmann::ordered_json& context, Budget& budget);

  std::string run();
  // Where the template was when an error came.
  size_t offset() const { return offset_; }
  // The error is the template's own, by raise_exception.
  bool raised() const { return raised_; }

  // For built-ins.
  Budget& budget() { return budget_; }
  Value text(std::string text, bool markup = false);
  Value list(std::vector<Value> items);
  Value tuple(std::vector<Value> items);
  Value undefined(Value name, const Value& owner);  // absent from owner
  Value undefined_hint(std::string hint);
  Value call(const Value& callee, Arguments& arguments);
  Value get_item(const Value& object, const Value& key);
  Value get_attribute(const Value& object, const Value& name);
  // The attribute proper, not an item. Empty if the type has none of that name.
  std::optional<Value> find_attribute(const Value& object, const Value& name);
  Value slice(const Value& object, const Value& start, const Value& stop, const Value& step);
  // Calls item(Value) for each; throws for what is not iterable.
  template <typename OnItem>
  void for_each(const Value& iterable, const OnItem& on_item);
  std::vector<Value> to_vector(const Value& iterable);
  Value iterator(const Value& iterable);
  // A list's items once, as Python's generators and reversed() give them.
  Value list_iterator(Value list, const char* type_name);
  bool iterator_next(const Value& iterator, Value& item) { return iterator.as<Iterator>().next(*this, item); }
  void set_raised() { raised_ = true; }
  // One item of a filtered loop: whether it passes.
  bool passes_filter(const ForStmt& node, Activation& activation, const Value& item);
  Value recurse(Loop& loop, const Value& iterable);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };
  class Capture;
  class Switch;

  Flow exec(const Body& body);
  Flow exec(const Stmt& stmt);
  void exec_output(const OutputStmt& node);
  Flow exec_if(const IfStmt& node);
  void exec_assign(const AssignStmt& node);
  Flow exec_assign_block(const AssignBlockStmt& node);
  Flow exec_for(const ForStmt& node);
  Flow run_loop(const ForStmt& node, const Value& iterable, Activation* outer, int64_t depth0);
  void exec_call_block(const CallBlockStmt& node);
  Flow exec_filter_block(const FilterBlockStmt& node);
  Flow exec_with(const WithStmt& node);
  void exec_block(const BlockStmt& node);
  void check_namespaces(const Expr& target);
  void assign(const Expr& target, const Value& value);
  void unpack(const SequenceExpr& target, const Value& value);
  void enter(const ScopePlan& scope);
  void leave(const ScopePlan& scope);

  Value eval(const Expr& expr);
  Value eval_name(const NameExpr& node);
  Value eval_compare(const CompareExpr& node);
  Value eval_concat(const SequenceExpr& node);
  Value eval_dict(const DictExpr& node);
  Value eval_item(const ItemExpr& node);
  Value eval_call(const CallExpr& node, const Value* caller);
  Value eval_filter(const FilterExpr& node, const Value* block_text);
  bool eval_test(const TestExpr& node);
  Arguments eval_arguments(const ArgumentExprs& exprs);
  Value call_macro(const Macro& macro, Arguments& arguments);
  Value macro_value(const MacroPlan& plan);

  Value& slot(const VariableRef& ref);
  const Value& context_value(int index);
  void append(std::string_view text);
  // The result of a call or filter block, which Jinja2 does not convert.
  void append_string(const Value& value);

  const Template& template_;
  const nlohmann::ordered_json& context_;
  Budget& budget_;
  std::vector<Value> context_values_;  // [context_names], missing until looked up
  std::vector<bool> context_known_;
  Activation* activation_ = nullptr;
  std::string* out_ = nullptr;
  size_t offset_ = 0;
  bool raised_ = false;
};

template <typename OnItem>
void Interpreter::for_each(const Value& iterable, const OnItem& on_item) {
  if (iterable.is_sequence()) {
    for (const Value& item : iterable.as<List>().items()) {
      budget_.step();
      on_item(item);
    }
    return;
  }
  const Value items = iterator(iterable);
  Value item;
  while (iterator_next(items, item)) {
    budget_.step();
    on_item(item);
  }
}

}  // namespace carronade::jinja
