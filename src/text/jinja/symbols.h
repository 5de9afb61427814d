// The variables of one scope: jinja2.idtracking.Symbols.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"

namespace carronade::jinja {

// A function of Jinja2's output while its variables are being numbered.
struct FunctionScope {
  FunctionScope* parent;
  int depth;
  std::map<std::pair<int, std::string_view>, int> slots;  // by level of scope and name: sibling scopes share
  explicit FunctionScope(FunctionScope* parent) : parent(parent), depth(parent ? parent->depth + 1 : 0) {}
};

struct Variable {
  FunctionScope* function;
  int slot;
  auto operator<=>(const Variable&) const = default;  // NOLINT(modernize-use-nullptr): clang-tidy 14 sees a 0 there
};

class Symbols {
 public:
  enum class Load : uint8_t { kParameter, kContext, kOuter, kNothing };
  struct Source {
    Load load;
    std::string_view name;  // kContext
    Variable outer{};       // kOuter
  };

  Symbols(FunctionScope* function, const Symbols* parent)
      : function_(function), parent_(parent), level_(parent ? parent->level_ + 1 : 0) {}

  const Variable* find(std::string_view name) const;
  void store(std::string_view name);
  Variable declare_parameter(std::string_view name);
  void load(std::string_view name);
  // What the branches of an `if` did, each analyzed on a copy of this.
  void merge(const std::vector<Symbols>& branches);

  const std::map<Variable, Source>& loads() const { return loads_; }
  const std::set<std::string_view>& stores() const { return stores_; }
  const Symbols* parent() const { return parent_; }

  // jinja2.idtracking.FrameSymbolVisitor: what a node does to this scope, not looking into the scopes it opens.
  void visit(Expr& expr, bool as_parameter = false);
  void visit(Stmt& stmt);
  void visit(Body& body) {
    for (auto& stmt : body) visit(*stmt);
  }

 private:
  Variable define(std::string_view name, Source source);
  void visit_if(IfStmt& node);

  FunctionScope* function_;
  const Symbols* parent_;
  int level_;
  std::map<std::string_view, Variable> refs_;
  std::map<Variable, Source> loads_;
  std::set<std::string_view> stores_;
};

}  // namespace carronade::jinja
