// Visits the parts of a node in the order in which Jinja2 lists its fields, which some of its rules depend on.
#pragma once

#include "text/jinja/ast.h"

namespace carronade::jinja {

template <typename Visit>
void for_each_argument(ArgumentExprs& arguments, const Visit& visit) {
  for (auto& argument : arguments.positional) visit(*argument);
  for (auto& [name, value] : arguments.keyword) visit(*value);
  if (arguments.more_positional) visit(*arguments.more_positional);
  if (arguments.more_keyword) visit(*arguments.more_keyword);
}

// Calls visit(Expr&) for each direct part of an expression.
template <typename Visit>
void for_each_part(Expr& expr, const Visit& visit) {
  const auto maybe = [&](ExprPtr& part) {
    if (part) visit(*part);
  };
  switch (expr.kind) {
    case Expr::Kind::kConst:
    case Expr::Kind::kName:
    case Expr::Kind::kNamespaceRef:
      break;
    case Expr::Kind::kTuple:
    case Expr::Kind::kList:
    case Expr::Kind::kConcat:
      for (auto& item : static_cast<SequenceExpr&>(expr).items) visit(*item);
      break;
    case Expr::Kind::kDict:
      for (auto& [key, value] : static_cast<DictExpr&>(expr).items) {
        visit(*key);
        visit(*value);
      }
      break;
    case Expr::Kind::kNot:
    case Expr::Kind::kNegate:
    case Expr::Kind::kPlus:
      visit(*static_cast<UnaryExpr&>(expr).operand);
      break;
    case Expr::Kind::kBinary:
    case Expr::Kind::kAnd:
    case Expr::Kind::kOr:
      visit(*static_cast<BinaryExpr&>(expr).left);
      visit(*static_cast<BinaryExpr&>(expr).right);
      break;
    case Expr::Kind::kCompare:
      visit(*static_cast<CompareExpr&>(expr).first);
      for (auto& [op, operand] : static_cast<CompareExpr&>(expr).rest) visit(*operand);
      break;
    case Expr::Kind::kCondition: {
      auto& node = static_cast<ConditionExpr&>(expr);
      visit(*node.test);
      visit(*node.then);
      maybe(node.otherwise);
      break;
    }
    case Expr::Kind::kAttribute:
      visit(*static_cast<AttributeExpr&>(expr).object);
      break;
    case Expr::Kind::kItem:
      visit(*static_cast<ItemExpr&>(expr).object);
      visit(*static_cast<ItemExpr&>(expr).index);
      break;
    case Expr::Kind::kSlice: {
      auto& node = static_cast<SliceExpr&>(expr);
      maybe(node.start);
      maybe(node.stop);
      maybe(node.step);
      break;
    }
    case Expr::Kind::kCall:
      visit(*static_cast<CallExpr&>(expr).callee);
      for_each_argument(static_cast<CallExpr&>(expr).arguments, visit);
      break;
    case Expr::Kind::kFilter:
      maybe(static_cast<FilterExpr&>(expr).input);
      for_each_argument(static_cast<FilterExpr&>(expr).arguments, visit);
      break;
    case Expr::Kind::kTest:
      visit(*static_cast<TestExpr&>(expr).input);
      for_each_argument(static_cast<TestExpr&>(expr).arguments, visit);
      break;
  }
}

// Calls on_expr(Expr&) and on_body(Body&) for each direct part of a statement.
template <typename OnExpr, typename OnBody>
void for_each_part(Stmt& stmt, const OnExpr& on_expr, const OnBody& on_body) {
  const auto maybe = [&](ExprPtr& part) {
    if (part) on_expr(*part);
  };
  const auto macro = [&](MacroPlan& plan) {
    for (auto& parameter : plan.parameters) on_expr(*parameter.name);
    for (auto& parameter : plan.parameters) maybe(parameter.fallback);
    on_body(plan.body);
  };
  switch (stmt.kind) {
    case Stmt::Kind::kOutput:
      for (auto& piece : static_cast<OutputStmt&>(stmt).pieces) maybe(piece.expression);
      break;
    case Stmt::Kind::kFor: {
      auto& node = static_cast<ForStmt&>(stmt);
      on_expr(*node.target);
      on_expr(*node.iterable);
      on_body(node.body);
      on_body(node.otherwise);
      maybe(node.filter);
      break;
    }
    case Stmt::Kind::kIf: {
      auto& node = static_cast<IfStmt&>(stmt);
      for (auto& branch : node.branches) {
        on_expr(*branch.test);
        on_body(branch.body);
      }
      on_body(node.otherwise);
      break;
    }
    case Stmt::Kind::kAssign:
      on_expr(*static_cast<AssignStmt&>(stmt).target);
      on_expr(*static_cast<AssignStmt&>(stmt).value);
      break;
    case Stmt::Kind::kAssignBlock: {
      auto& node = static_cast<AssignBlockStmt&>(stmt);
      on_expr(*node.target);
      maybe(node.filter);
      on_body(node.body);
      break;
    }
    case Stmt::Kind::kMacro:
      macro(static_cast<MacroStmt&>(stmt).macro);
      break;
    case Stmt::Kind::kCallBlock:
      on_expr(*static_cast<CallBlockStmt&>(stmt).call);
      macro(static_cast<CallBlockStmt&>(stmt).macro);
      break;
    case Stmt::Kind::kGeneration:
      macro(static_cast<GenerationStmt&>(stmt).macro);
      break;
    case Stmt::Kind::kFilterBlock:
      on_body(static_cast<FilterBlockStmt&>(stmt).body);
      on_expr(*static_cast<FilterBlockStmt&>(stmt).filter);
      break;
    case Stmt::Kind::kWith: {
      auto& node = static_cast<WithStmt&>(stmt);
      for (auto& [target, value] : node.assignments) on_expr(*target);
      for (auto& [target, value] : node.assignments) on_expr(*value);
      on_body(node.body);
      break;
    }
    case Stmt::Kind::kBlock:
      on_body(static_cast<BlockStmt&>(stmt).body);
      break;
    case Stmt::Kind::kScope:
      on_body(static_cast<ScopeStmt&>(stmt).body);
      break;
    case Stmt::Kind::kNoLoader:
      maybe(static_cast<NoLoaderStmt&>(stmt).name);
      break;
    case Stmt::Kind::kBreak:
    case Stmt::Kind::kContinue:
      break;
  }
}

}  // namespace carronade::jinja
