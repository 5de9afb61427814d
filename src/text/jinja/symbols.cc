#include "text/jinja/symbols.h"

#include "text/jinja/walk.h"

namespace carronade::jinja {

Variable Symbols::define(std::string_view name, Source source) {
  const int next = static_cast<int>(function_->slots.size());
  const int slot = function_->slots.try_emplace({level_, name}, next).first->second;
  const Variable variable{function_, slot};
  refs_[name] = variable;
  loads_[variable] = source;
  return variable;
}

const Variable* Symbols::find(std::string_view name) const {
  for (const Symbols* scope = this; scope; scope = scope->parent_) {
    if (const auto found = scope->refs_.find(name); found != scope->refs_.end()) return &found->second;
  }
  return nullptr;
}

void Symbols::store(std::string_view name) {
  stores_.insert(name);
  if (refs_.contains(name)) return;
  if (const Variable* outer = parent_ ? parent_->find(name) : nullptr) {
    define(name, {Load::kOuter, {}, *outer});
  } else {
    define(name, {Load::kNothing, {}});
  }
}

Variable Symbols::declare_parameter(std::string_view name) {
  stores_.insert(name);
  return define(name, {Load::kParameter, {}});
}

void Symbols::load(std::string_view name) {
  if (!find(name)) define(name, {Load::kContext, name});
}

void Symbols::merge(const std::vector<Symbols>& branches) {
  std::set<std::string_view> stored;
  for (const auto& branch : branches) {
    for (std::string_view name : branch.stores_) {
      if (!stores_.contains(name)) stored.insert(name);
    }
  }
  for (const auto& branch : branches) {
    for (const auto& [name, variable] : branch.refs_) refs_[name] = variable;
    for (const auto& [variable, source] : branch.loads_) loads_[variable] = source;
    stores_.insert(branch.stores_.begin(), branch.stores_.end());
  }
  for (std::string_view name : stored) {
    const Variable variable = *find(name);
    const Variable* outer = parent_ ? parent_->find(name) : nullptr;
    loads_[variable] = outer ? Source{Load::kOuter, {}, *outer} : Source{Load::kContext, name};
  }
}

void Symbols::visit(Expr& expr, bool as_parameter) {
  if (expr.kind == Expr::Kind::kName) {
    const auto& name = static_cast<NameExpr&>(expr);
    if (as_parameter || name.use == NameExpr::Use::kParameter) {
      declare_parameter(name.text());
    } else if (name.use == NameExpr::Use::kStore) {
      store(name.text());
    } else {
      load(name.text());
    }
    return;
  }
  if (expr.kind == Expr::Kind::kNamespaceRef) load(static_cast<NamespaceRefExpr&>(expr).name.as<String>().view());
  for_each_part(expr, [&](Expr& part) { visit(part, as_parameter); });
}

void Symbols::visit_if(IfStmt& node) {
  // Jinja2 keeps the `elif`s as nested nodes, all analyzed as one branch, in order.
  visit(*node.branches[0].test);
  std::vector<Symbols> branches(3, *this);
  branches[0].visit(node.branches[0].body);
  for (size_t i = 1; i < node.branches.size(); ++i) {
    branches[1].visit(*node.branches[i].test);
    std::vector<Symbols> inner(3, branches[1]);
    inner[0].visit(node.branches[i].body);
    branches[1].merge(inner);
  }
  branches[2].visit(node.otherwise);
  merge(branches);
}

void Symbols::visit(Stmt& stmt) {
  switch (stmt.kind) {
    case Stmt::Kind::kIf:
      visit_if(static_cast<IfStmt&>(stmt));
      break;
    case Stmt::Kind::kMacro:
      store(static_cast<MacroStmt&>(stmt).target->text());
      break;
    case Stmt::Kind::kAssign:
      visit(*static_cast<AssignStmt&>(stmt).value);
      visit(*static_cast<AssignStmt&>(stmt).target);
      break;
    case Stmt::Kind::kFor:
      visit(*static_cast<ForStmt&>(stmt).iterable);
      break;
    case Stmt::Kind::kCallBlock:
      visit(*static_cast<CallBlockStmt&>(stmt).call);
      break;
    case Stmt::Kind::kFilterBlock:
      visit(*static_cast<FilterBlockStmt&>(stmt).filter);
      break;
    case Stmt::Kind::kWith:
      for (auto& [target, value] : static_cast<WithStmt&>(stmt).assignments) visit(*value);
      break;
    case Stmt::Kind::kAssignBlock:
      visit(*static_cast<AssignBlockStmt&>(stmt).target);
      break;
    case Stmt::Kind::kOutput:
      for_each_part(
          stmt, [&](Expr& part) { visit(part); }, [](Body&) {});
      break;
    case Stmt::Kind::kNoLoader:
      visit(*static_cast<NoLoaderStmt&>(stmt).name);
      break;
    case Stmt::Kind::kBlock:
    case Stmt::Kind::kScope:
    case Stmt::Kind::kGeneration:
    case Stmt::Kind::kBreak:
    case Stmt::Kind::kContinue:
      break;
  }
}

}  // namespace carronade::jinja
