// The syntax tree of a template. The parser makes it, scope.cc resolves its names to slots, then it never changes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace carronade::jinja {

// Where a variable lives at run time: so many functions out, in that slot. See scope.h.
struct VariableRef {
  int hops = -1;
  int slot = -1;
};

struct Node {
  size_t offset = 0;  // into the normalized source, for messages
};

struct Expr : Node {
  enum class Kind : uint8_t {
    kConst,
    kName,
    kNamespaceRef,
    kTuple,
    kList,
    kDict,
    kNot,
    kNegate,
    kPlus,
    kBinary,
    kAnd,
    kOr,
    kConcat,
    kCompare,
    kCondition,
    kAttribute,
    kItem,
    kSlice,
    kCall,
    kFilter,
    kTest,
  };
  explicit Expr(Kind kind) : kind(kind) {}
  virtual ~Expr() = default;
  Kind kind;
};
using ExprPtr = std::unique_ptr<Expr>;

struct ConstExpr : Expr {
  explicit ConstExpr(Value value) : Expr(Kind::kConst), value(std::move(value)) {}
  Value value;
};

struct NameExpr : Expr {
  enum class Use : uint8_t { kLoad, kStore, kParameter };
  NameExpr(Value name, Use use) : Expr(Kind::kName), name(std::move(name)), use(use) {}
  std::string_view text() const { return name.as<String>().view(); }
  Value name;
  Use use;
  VariableRef ref;
  int exported = -1;  // index into Template::context_names: an assignment at top level, which blocks see
};

// The target in {% set ns.attribute = … %}.
struct NamespaceRefExpr : Expr {
  NamespaceRefExpr(Value name, Value attribute)
      : Expr(Kind::kNamespaceRef), name(std::move(name)), attribute(std::move(attribute)) {}
  Value name;
  Value attribute;
  VariableRef ref;
};

struct SequenceExpr : Expr {  // kTuple, kList, kConcat
  using Expr::Expr;
  std::vector<ExprPtr> items;
};

struct DictExpr : Expr {
  DictExpr() : Expr(Kind::kDict) {}
  std::vector<std::pair<ExprPtr, ExprPtr>> items;
};

struct UnaryExpr : Expr {  // kNot, kNegate, kPlus
  UnaryExpr(Kind kind, ExprPtr operand) : Expr(kind), operand(std::move(operand)) {}
  ExprPtr operand;
};

struct BinaryExpr : Expr {  // kBinary, kAnd, kOr
  BinaryExpr(Kind kind, BinaryOp op, ExprPtr left, ExprPtr right)
      : Expr(kind), op(op), left(std::move(left)), right(std::move(right)) {}
  BinaryOp op;
  ExprPtr left, right;
};

struct CompareExpr : Expr {
  CompareExpr() : Expr(Kind::kCompare) {}
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
};

struct ConditionExpr : Expr {
  ConditionExpr() : Expr(Kind::kCondition) {}
  ExprPtr test, then, otherwise;  // otherwise may be null
};

struct AttributeExpr : Expr {
  AttributeExpr(ExprPtr object, Value name)
      : Expr(Kind::kAttribute), object(std::move(object)), name(std::move(name)) {}
  ExprPtr object;
  Value name;
};

struct ItemExpr : Expr {
  ItemExpr(ExprPtr object, ExprPtr index) : Expr(Kind::kItem), object(std::move(object)), index(std::move(index)) {}
  ExprPtr object, index;
};

struct SliceExpr : Expr {  // only as the index of an ItemExpr
  SliceExpr() : Expr(Kind::kSlice) {}
  ExprPtr start, stop, step;  // each may be null
};

struct ArgumentExprs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> keyword;
  ExprPtr more_positional;  // *args, may be null
  ExprPtr more_keyword;     // **kwargs, may be null
};

struct CallExpr : Expr {
  CallExpr() : Expr(Kind::kCall) {}
  ExprPtr callee;
  ArgumentExprs arguments;
};

using Filter = Value (*)(Interpreter&, const Value& input, Arguments& arguments);
using Test = bool (*)(Interpreter&, const Value& input, Arguments& arguments);

struct FilterExpr : Expr {
  FilterExpr() : Expr(Kind::kFilter) {}
  ExprPtr input;  // null: the text of the surrounding {% filter %} or {% set %} block
  std::string name;
  Filter filter = nullptr;  // null: unknown, an error when reached
  ArgumentExprs arguments;
};

struct TestExpr : Expr {
  TestExpr() : Expr(Kind::kTest) {}
  ExprPtr input;
  std::string name;
  Test test = nullptr;
  ArgumentExprs arguments;
};

// What happens to the variables of a scope when it is entered; all are unset again when it is left.
struct SlotLoad {
  enum class From : uint8_t { kNothing, kContext, kOuter };
  int slot;
  From from;
  int context = -1;   // kContext: index into Template::context_names
  VariableRef outer;  // kOuter
};
struct ScopePlan {
  std::vector<SlotLoad> loads;
  std::vector<int> clears;
};

// What becomes a Python function in Jinja2: the template, a macro, a block, a recursive loop, a loop's filter.
struct FunctionPlan {
  int slots = 0;
};

struct Stmt : Node {
  enum class Kind : uint8_t {
    kOutput,
    kFor,
    kIf,
    kAssign,
    kAssignBlock,
    kMacro,
    kCallBlock,
    kFilterBlock,
    kWith,
    kBlock,
    kBreak,
    kContinue,
    kGeneration,
    kScope,
    kNoLoader,
  };
  explicit Stmt(Kind kind) : kind(kind) {}
  virtual ~Stmt() = default;
  Kind kind;
};
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

struct OutputStmt : Stmt {
  OutputStmt() : Stmt(Kind::kOutput) {}
  struct Piece {
    std::string text;  // of the template itself, where expression is null
    ExprPtr expression;
  };
  std::vector<Piece> pieces;
};

struct ForStmt : Stmt {
  ForStmt() : Stmt(Kind::kFor) {}
  ExprPtr target, iterable, filter;  // filter may be null
  Body body, otherwise;
  bool recursive = false;
  bool has_loop = false;  // the body mentions `loop`
  VariableRef loop;
  ScopePlan scope, otherwise_scope, filter_scope;
  ExprPtr filter_target;                   // the target again, in the filter's own function
  FunctionPlan filter_function, function;  // `function` only where recursive
};

struct IfStmt : Stmt {
  IfStmt() : Stmt(Kind::kIf) {}
  struct Branch {
    ExprPtr test;
    Body body;
  };
  std::vector<Branch> branches;
  Body otherwise;
};

struct AssignStmt : Stmt {
  AssignStmt() : Stmt(Kind::kAssign) {}
  ExprPtr target, value;
};

struct AssignBlockStmt : Stmt {
  AssignBlockStmt() : Stmt(Kind::kAssignBlock) {}
  ExprPtr target, filter;  // filter may be null
  Body body;
  ScopePlan scope;
};

struct Parameter {
  std::unique_ptr<NameExpr> name;
  ExprPtr fallback;  // may be null
};

// A macro, or the body of a call block, which is the macro `caller`.
struct MacroPlan {
  std::string name;
  std::vector<Parameter> parameters;
  Body body;
  bool wants_caller = false, wants_keywords = false, wants_positionals = false;
  bool explicit_caller = false;
  VariableRef caller, keywords, positionals;
  ScopePlan scope;
  FunctionPlan function;
};

struct MacroStmt : Stmt {
  MacroStmt() : Stmt(Kind::kMacro) {}
  std::unique_ptr<NameExpr> target;
  MacroPlan macro;
};

struct CallBlockStmt : Stmt {
  CallBlockStmt() : Stmt(Kind::kCallBlock) {}
  ExprPtr call;  // a CallExpr
  MacroPlan macro;
};

struct FilterBlockStmt : Stmt {
  FilterBlockStmt() : Stmt(Kind::kFilterBlock) {}
  ExprPtr filter;
  Body body;
  ScopePlan scope;
};

struct WithStmt : Stmt {
  WithStmt() : Stmt(Kind::kWith) {}
  std::vector<std::pair<ExprPtr, ExprPtr>> assignments;
  Body body;
  ScopePlan scope;
};

struct BlockStmt : Stmt {
  BlockStmt() : Stmt(Kind::kBlock) {}
  std::string name;
  Body body;
  bool scoped = false, required = false;
  std::vector<std::pair<int, VariableRef>>
      overlay;  // where scoped: context variables that are these while the block runs
  ScopePlan scope;
  FunctionPlan function;
};

struct ScopeStmt : Stmt {  // {% autoescape false %}
  ScopeStmt() : Stmt(Kind::kScope) {}
  Body body;
  ScopePlan scope;
};

struct JumpStmt : Stmt {  // kBreak, kContinue
  using Stmt::Stmt;
};

// {% generation %}: marks what the model itself said. Renders as its body does, in a function of its own.
struct GenerationStmt : Stmt {
  GenerationStmt() : Stmt(Kind::kGeneration) {}
  MacroPlan macro;
};

// include, import, from, extends: there is nowhere to load from.
struct NoLoaderStmt : Stmt {
  NoLoaderStmt() : Stmt(Kind::kNoLoader) {}
  ExprPtr name;
  bool ignore_missing = false;
};

struct Template {
  std::string source;                              // normalized
  std::vector<std::unique_ptr<Object>> constants;  // owns what ConstExpr and names refer to
  Body body;
  std::vector<std::string> context_names;  // variables that are looked up in the context
  ScopePlan scope;
  FunctionPlan function;
  bool has_blocks = false;

  Value constant(std::string text) {
    constants.push_back(std::make_unique<String>(nullptr, std::move(text)));
    return Value(constants.back().get());
  }
};

}  // namespace carronade::jinja
