#include "text/jinja/scope.h"

#include "text/jinja/lexer.h"
#include "text/jinja/symbols.h"
#include "text/jinja/walk.h"

namespace carronade::jinja {

namespace {

// jinja2.compiler.Frame.
struct Frame {
  Symbols symbols;
  FunctionScope* function;
  bool toplevel = false;
  bool soft = false;  // inside of a condition: unknown filters and tests are errors only when reached

  Frame inner() const { return inner_in(function); }
  Frame inner_in(FunctionScope* other) const { return {Symbols(other, &symbols), other}; }
};

// Whether a body reads `wanted` before it declares it, closures included.
class UndeclaredName {
 public:
  explicit UndeclaredName(std::string_view wanted) : wanted_(wanted) {}
  bool in(Body& body) {
    visit(body);
    return found_;
  }

 private:
  void visit(Expr& expr) {
    if (decided_) return;
    if (expr.kind == Expr::Kind::kName && static_cast<NameExpr&>(expr).text() == wanted_) {
      decided_ = true;
      found_ = static_cast<NameExpr&>(expr).use == NameExpr::Use::kLoad;
    }
    for_each_part(expr, [&](Expr& part) { visit(part); });
  }
  void visit(Body& body) {
    for (auto& stmt : body) {
      if (decided_ || stmt->kind == Stmt::Kind::kBlock) continue;
      for_each_part(
          *stmt, [&](Expr& part) { visit(part); }, [&](Body& inner) { visit(inner); });
    }
  }
  std::string_view wanted_;
  bool decided_ = false;
  bool found_ = false;
};

bool has_scoped_block(Body& body) {
  bool found = false;
  for (auto& stmt : body) {
    found = found || (stmt->kind == Stmt::Kind::kBlock && static_cast<BlockStmt&>(*stmt).scoped);
    for_each_part(
        *stmt, [](Expr&) {}, [&](Body& inner) { found = found || has_scoped_block(inner); });
  }
  return found;
}

ExprPtr copy_target(const Expr& target) {
  if (target.kind == Expr::Kind::kTuple) {
    auto copy = std::make_unique<SequenceExpr>(Expr::Kind::kTuple);
    copy->offset = target.offset;
    for (const auto& item : static_cast<const SequenceExpr&>(target).items) copy->items.push_back(copy_target(*item));
    return copy;
  }
  const auto& name = static_cast<const NameExpr&>(target);
  auto copy = std::make_unique<NameExpr>(name.name, name.use);
  copy->offset = target.offset;
  return copy;
}

class Resolver {
 public:
  explicit Resolver(Template& tree) : template_(tree) {}

  void run() {
    FunctionScope function(nullptr);
    Frame frame{Symbols(&function, nullptr), &function};
    frame.toplevel = true;
    frame.symbols.visit(template_.body);
    template_.scope = plan(frame);
    resolve(template_.body, frame);
    template_.function.slots = static_cast<int>(function.slots.size());
  }

 private:
  int context_index(std::string_view name) {
    const auto next = static_cast<int>(template_.context_names.size());
    const auto [entry, is_new] = context_indices_.try_emplace(std::string(name), next);
    if (is_new) template_.context_names.emplace_back(name);
    return entry->second;
  }

  static VariableRef ref_from(const FunctionScope* function, const Variable& variable) {
    return {function->depth - variable.function->depth, variable.slot};
  }

  VariableRef ref(const Frame& frame, std::string_view name, size_t offset) const {
    const Variable* variable = frame.symbols.find(name);
    if (!variable) {
      fail_at(template_.source, offset,
              "Tried to resolve a name to a reference that was unknown to the frame ('" + std::string(name) + "')");
    }
    return ref_from(frame.function, *variable);
  }

  ScopePlan plan(const Frame& frame) {
    ScopePlan result;
    for (const auto& [variable, source] : frame.symbols.loads()) {
      result.clears.push_back(variable.slot);
      switch (source.load) {
        case Symbols::Load::kParameter:
          break;
        case Symbols::Load::kNothing:
          result.loads.push_back({variable.slot, SlotLoad::From::kNothing, -1, {}});
          break;
        case Symbols::Load::kContext:
          result.loads.push_back({variable.slot, SlotLoad::From::kContext, context_index(source.name), {}});
          break;
        case Symbols::Load::kOuter:
          result.loads.push_back({variable.slot, SlotLoad::From::kOuter, -1, ref_from(frame.function, source.outer)});
          break;
      }
    }
    return result;
  }

  void resolve(Expr& expr, const Frame& frame, bool soft = false) {
    soft = soft || frame.soft;
    switch (expr.kind) {
      case Expr::Kind::kName: {
        auto& name = static_cast<NameExpr&>(expr);
        name.ref = ref(frame, name.text(), expr.offset);
        if (name.use != NameExpr::Use::kStore) break;
        if (loops_ > 0 && name.text() == "loop") {
          fail_at(template_.source, expr.offset, "Can't assign to special loop variable in for-loop target");
        }
        if (frame.toplevel) name.exported = context_index(name.text());
        break;
      }
      case Expr::Kind::kNamespaceRef: {
        auto& target = static_cast<NamespaceRefExpr&>(expr);
        target.ref = ref(frame, target.name.as<String>().view(), expr.offset);
        break;
      }
      case Expr::Kind::kFilter: {
        const auto& node = static_cast<FilterExpr&>(expr);
        if (!node.filter && !soft) fail_at(template_.source, expr.offset, "No filter named '" + node.name + "'.");
        break;
      }
      case Expr::Kind::kTest: {
        const auto& node = static_cast<TestExpr&>(expr);
        if (!node.test && !soft) fail_at(template_.source, expr.offset, "No test named '" + node.name + "'.");
        break;
      }
      case Expr::Kind::kCondition:
        soft = true;
        break;
      default:
        break;
    }
    for_each_part(expr, [&](Expr& part) { resolve(part, frame, soft); });
  }

  void resolve(Body& body, const Frame& frame) {
    for (auto& stmt : body) resolve(*stmt, frame);
  }

  void resolve(Stmt& stmt, const Frame& frame) {
    switch (stmt.kind) {
      case Stmt::Kind::kFor:
        resolve_for(static_cast<ForStmt&>(stmt), frame);
        break;
      case Stmt::Kind::kIf: {
        Frame soft = frame;
        soft.soft = true;
        for_each_part(
            stmt, [&](Expr& part) { resolve(part, soft); }, [&](Body& body) { resolve(body, soft); });
        break;
      }
      case Stmt::Kind::kAssignBlock: {
        auto& node = static_cast<AssignBlockStmt&>(stmt);
        Frame inner = frame.inner();
        inner.symbols.visit(node.body);
        node.scope = plan(inner);
        resolve(node.body, inner);
        resolve(*node.target, frame);
        if (node.filter) resolve(*node.filter, inner);
        break;
      }
      case Stmt::Kind::kMacro: {
        auto& node = static_cast<MacroStmt&>(stmt);
        resolve_macro(node.macro, frame, stmt.offset);
        node.target->ref = ref(frame, node.target->text(), stmt.offset);
        if (frame.toplevel) node.target->exported = context_index(node.target->text());
        break;
      }
      case Stmt::Kind::kCallBlock:
        resolve_macro(static_cast<CallBlockStmt&>(stmt).macro, frame, stmt.offset);
        resolve(*static_cast<CallBlockStmt&>(stmt).call, frame);
        break;
      case Stmt::Kind::kGeneration:
        resolve_macro(static_cast<GenerationStmt&>(stmt).macro, frame, stmt.offset);
        break;
      case Stmt::Kind::kFilterBlock: {
        auto& node = static_cast<FilterBlockStmt&>(stmt);
        Frame inner = frame.inner();
        inner.symbols.visit(node.body);
        inner.symbols.visit(*node.filter);
        node.scope = plan(inner);
        resolve(node.body, inner);
        resolve(*node.filter, inner);
        break;
      }
      case Stmt::Kind::kWith:
        resolve_with(static_cast<WithStmt&>(stmt), frame);
        break;
      case Stmt::Kind::kBlock:
        resolve_block(static_cast<BlockStmt&>(stmt), frame);
        break;
      case Stmt::Kind::kScope: {
        auto& node = static_cast<ScopeStmt&>(stmt);
        Frame inner = frame.inner();
        inner.symbols.visit(node.body);
        node.scope = plan(inner);
        resolve(node.body, inner);
        break;
      }
      default:
        for_each_part(
            stmt, [&](Expr& part) { resolve(part, frame); }, [](Body&) {});
        break;
    }
  }

  void resolve_for(ForStmt& node, const Frame& frame) {
    FunctionScope recursion(frame.function);
    FunctionScope* function = node.recursive ? &recursion : frame.function;
    resolve(*node.iterable, frame);
    ++loops_;
    Frame body = frame.inner_in(function);
    node.has_loop = node.recursive || UndeclaredName("loop").in(node.body) || has_scoped_block(node.body);
    if (node.has_loop) node.loop = ref_from(function, body.symbols.declare_parameter("loop"));
    body.symbols.visit(*node.target, true);
    body.symbols.visit(node.body);
    if (node.filter) resolve_loop_filter(node, frame, function);
    node.scope = plan(body);
    resolve(*node.target, body);
    resolve(node.body, body);
    Frame otherwise = frame.inner_in(function);
    otherwise.symbols.visit(node.otherwise);
    node.otherwise_scope = plan(otherwise);
    resolve(node.otherwise, otherwise);
    --loops_;
    node.function.slots = static_cast<int>(recursion.slots.size());
  }

  void resolve_loop_filter(ForStmt& node, const Frame& frame, FunctionScope* outer) {
    FunctionScope function(outer);
    Frame inner = frame.inner_in(&function);
    node.filter_target = copy_target(*node.target);
    inner.symbols.visit(*node.filter_target, true);
    inner.symbols.visit(*node.filter);
    node.filter_scope = plan(inner);
    resolve(*node.filter_target, inner);
    resolve(*node.filter, inner);
    node.filter_function.slots = static_cast<int>(function.slots.size());
  }

  void resolve_macro(MacroPlan& macro, const Frame& outer, size_t offset) {
    FunctionScope function(outer.function);
    Frame frame = outer.inner_in(&function);
    const auto analyze = [&] {
      for (auto& parameter : macro.parameters) frame.symbols.visit(*parameter.name);
      for (auto& parameter : macro.parameters) {
        if (parameter.fallback) frame.symbols.visit(*parameter.fallback);
      }
      frame.symbols.visit(macro.body);
    };
    analyze();
    bool own_keywords = false;
    bool own_positionals = false;
    for (const auto& parameter : macro.parameters) {
      own_keywords = own_keywords || parameter.name->text() == "kwargs";
      own_positionals = own_positionals || parameter.name->text() == "varargs";
      if (parameter.name->text() != "caller") continue;
      macro.explicit_caller = true;
      if (!parameter.fallback && UndeclaredName("caller").in(macro.body)) {
        fail_at(template_.source, offset,
                "When defining macros or call blocks the special \"caller\" argument must be omitted or be given a "
                "default.");
      }
    }
    const auto special = [&](std::string_view name, bool own, bool& wanted, VariableRef& where) {
      if (own || !UndeclaredName(name).in(macro.body)) return;
      wanted = true;
      where = ref_from(&function, frame.symbols.declare_parameter(name));
    };
    special("caller", macro.explicit_caller, macro.wants_caller, macro.caller);
    special("kwargs", own_keywords, macro.wants_keywords, macro.keywords);
    special("varargs", own_positionals, macro.wants_positionals, macro.positionals);
    analyze();
    macro.scope = plan(frame);
    for (auto& parameter : macro.parameters) {
      resolve(*parameter.name, frame);
      if (parameter.fallback) resolve(*parameter.fallback, frame);
    }
    resolve(macro.body, frame);
    macro.function.slots = static_cast<int>(function.slots.size());
  }

  void resolve_with(WithStmt& node, const Frame& frame) {
    Frame inner = frame.inner();
    for (auto& [target, value] : node.assignments) inner.symbols.visit(*target, true);
    inner.symbols.visit(node.body);
    node.scope = plan(inner);
    for (auto& [target, value] : node.assignments) {
      resolve(*target, inner);
      resolve(*value, frame);
    }
    resolve(node.body, inner);
  }

  void resolve_block(BlockStmt& node, const Frame& frame) {
    if (node.scoped) overlay(node, frame);
    FunctionScope function(nullptr);
    Frame inner{Symbols(&function, nullptr), &function};
    inner.symbols.visit(node.body);
    node.scope = plan(inner);
    resolve(node.body, inner);
    node.function.slots = static_cast<int>(function.slots.size());
  }

  // A scoped block sees the variables around it as if they were the context's.
  void overlay(BlockStmt& node, const Frame& frame) {
    std::set<std::string_view> names;
    for (const Symbols* scope = &frame.symbols; scope; scope = scope->parent()) {
      names.insert(scope->stores().begin(), scope->stores().end());
    }
    for (std::string_view name : names) {
      node.overlay.emplace_back(context_index(name), ref(frame, name, node.offset));
    }
  }

  Template& template_;
  std::map<std::string, int> context_indices_;
  int loops_ = 0;
};

}  // namespace

void resolve_names(Template& tree) { Resolver(tree).run(); }

}  // namespace carronade::jinja
