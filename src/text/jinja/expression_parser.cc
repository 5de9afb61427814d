#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "text/jinja/builtins.h"

namespace carronade::jinja {

void ParserBase::unexpected(std::string_view wanted) const {
  if (current().kind == TokenKind::kEnd) fail("unexpected end of template, expected '" + std::string(wanted) + "'.");
  fail("expected token '" + std::string(wanted) + "', got '" + current().description() + "'");
}

void ParserBase::too_deep() const {
  throw_error(ErrorCode::kTooLarge, "the chat template nests more than {} levels deep", kMaxNesting);
}

void ParserBase::too_long() const {
  throw_error(ErrorCode::kTooLarge, "a tag of the chat template has more than {} operators", kMaxLinks);
}

namespace {

const char* kind_name(Expr::Kind kind) {
  switch (kind) {
    case Expr::Kind::kConst:
      return "const";
    case Expr::Kind::kList:
      return "list";
    case Expr::Kind::kDict:
      return "dict";
    default:
      return "expression";
  }
}

std::optional<CompareOp> compare_operator(const Token& token) {
  static constexpr std::pair<std::string_view, CompareOp> kOperators[] = {
      {"==", CompareOp::kEqual},     {"!=", CompareOp::kNotEqual}, {"<", CompareOp::kLess},
      {"<=", CompareOp::kLessEqual}, {">", CompareOp::kGreater},   {">=", CompareOp::kGreaterEqual}};
  for (const auto& [spelling, op] : kOperators) {
    if (token.is_operator(spelling)) return op;
  }
  return std::nullopt;
}

}  // namespace

ExprPtr ExpressionParser::expression(bool with_condition) {
  const Level level(*this);
  return with_condition ? condition() : disjunction();
}

ExprPtr ExpressionParser::condition() {
  size_t offset = current().offset;
  ExprPtr value = disjunction();
  while (skip_name("if")) {
    link();
    auto node = make<ConditionExpr>(offset);
    node->then = std::move(value);
    node->test = disjunction();
    if (skip_name("else")) {
      const Level level(*this);
      node->otherwise = condition();
    }
    value = std::move(node);
    offset = current().offset;
  }
  return value;
}

ExprPtr ExpressionParser::disjunction() {
  const size_t offset = current().offset;
  ExprPtr left = conjunction();
  while (skip_name("or")) {
    link();
    left = make<BinaryExpr>(offset, Expr::Kind::kOr, BinaryOp::kAdd, std::move(left), conjunction());
  }
  return left;
}

ExprPtr ExpressionParser::conjunction() {
  const size_t offset = current().offset;
  ExprPtr left = negation();
  while (skip_name("and")) {
    link();
    left = make<BinaryExpr>(offset, Expr::Kind::kAnd, BinaryOp::kAdd, std::move(left), negation());
  }
  return left;
}

ExprPtr ExpressionParser::negation() {
  if (!at_name("not")) return comparison();
  const Level level(*this);
  const size_t offset = advance().offset;
  return make<UnaryExpr>(offset, Expr::Kind::kNot, negation());
}

ExprPtr ExpressionParser::comparison() {
  const size_t offset = current().offset;
  ExprPtr first = sum();
  std::unique_ptr<CompareExpr> node;
  while (true) {
    CompareOp op;
    if (const auto symbol = compare_operator(current())) {
      op = *symbol;
      advance();
    } else if (skip_name("in")) {
      op = CompareOp::kIn;
    } else if (at_name("not") && ahead().is_name("in")) {
      advance();
      advance();
      op = CompareOp::kNotIn;
    } else {
      break;
    }
    if (!node) node = make<CompareExpr>(offset);
    node->rest.emplace_back(op, sum());
  }
  if (!node) return first;
  node->first = std::move(first);
  return node;
}

ExprPtr ExpressionParser::sum() {
  const size_t offset = current().offset;
  ExprPtr left = concatenation();
  while (at_operator("+") || at_operator("-")) {
    link();
    const BinaryOp op = advance().text == "+" ? BinaryOp::kAdd : BinaryOp::kSubtract;
    left = make<BinaryExpr>(offset, Expr::Kind::kBinary, op, std::move(left), concatenation());
  }
  return left;
}

ExprPtr ExpressionParser::concatenation() {
  const size_t offset = current().offset;
  ExprPtr first = product();
  if (!at_operator("~")) return first;
  auto node = make<SequenceExpr>(offset, Expr::Kind::kConcat);
  node->items.push_back(std::move(first));
  while (skip_operator("~")) node->items.push_back(product());
  return node;
}

ExprPtr ExpressionParser::product() {
  static constexpr std::pair<std::string_view, BinaryOp> kOperators[] = {
      {"*", BinaryOp::kMultiply}, {"/", BinaryOp::kDivide}, {"//", BinaryOp::kFloorDivide}, {"%", BinaryOp::kModulo}};
  const size_t offset = current().offset;
  ExprPtr left = power();
  while (true) {
    const auto* op = std::find_if(std::begin(kOperators), std::end(kOperators),
                                  [&](const auto& entry) { return at_operator(entry.first); });
    if (op == std::end(kOperators)) return left;
    link();
    advance();
    left = make<BinaryExpr>(offset, Expr::Kind::kBinary, op->second, std::move(left), power());
  }
}

ExprPtr ExpressionParser::power() {
  const size_t offset = current().offset;
  ExprPtr left = unary();
  while (skip_operator("**")) {
    link();
    left = make<BinaryExpr>(offset, Expr::Kind::kBinary, BinaryOp::kPower, std::move(left), unary());
  }
  return left;
}

ExprPtr ExpressionParser::unary(bool with_filter) {
  const Level level(*this);
  const size_t offset = current().offset;
  ExprPtr node;
  if (skip_operator("-")) {
    node = make<UnaryExpr>(offset, Expr::Kind::kNegate, unary(false));
  } else if (skip_operator("+")) {
    node = make<UnaryExpr>(offset, Expr::Kind::kPlus, unary(false));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filter ? filters_and_tests(std::move(node)) : std::move(node);
}

ExprPtr ExpressionParser::primary(bool with_namespace) {
  const Token& token = current();
  switch (token.kind) {
    case TokenKind::kName:
      return name(with_namespace);
    case TokenKind::kString: {
      std::string text = advance().text;
      while (current().kind == TokenKind::kString) text += advance().text;
      return make<ConstExpr>(token.offset, template_.constant(std::move(text)));
    }
    case TokenKind::kInteger:
      return make<ConstExpr>(token.offset, Value::integer(advance().integer));
    case TokenKind::kFloat:
      return make<ConstExpr>(token.offset, Value::real(advance().real));
    default:
      break;
  }
  if (skip_operator("(")) {
    ExprPtr node = tuple({.in_parentheses = true});
    expect_operator(")");
    return node;
  }
  if (at_operator("[")) return list();
  if (at_operator("{")) return dict();
  fail("unexpected '" + token.description() + "'");
}

ExprPtr ExpressionParser::name(bool with_namespace) {
  const Token& token = advance();
  if (token.text == "true" || token.text == "True") return make<ConstExpr>(token.offset, Value::boolean(true));
  if (token.text == "false" || token.text == "False") return make<ConstExpr>(token.offset, Value::boolean(false));
  if (token.text == "none" || token.text == "None") return make<ConstExpr>(token.offset, Value::none());
  Value name = template_.constant(token.text);
  if (with_namespace && skip_operator(".")) {
    Value attribute = template_.constant(expect(TokenKind::kName, "name").text);
    return make<NamespaceRefExpr>(token.offset, std::move(name), std::move(attribute));
  }
  return make<NameExpr>(token.offset, std::move(name), NameExpr::Use::kLoad);
}

ExprPtr ExpressionParser::tuple(const TupleRules& rules) {
  const auto at_end = [&] {
    const TokenKind kind = current().kind;
    return kind == TokenKind::kVariableEnd || kind == TokenKind::kBlockEnd || at_operator(")") ||
           (!rules.end_name.empty() && at_name(rules.end_name));
  };
  size_t offset = current().offset;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) expect_operator(",");
    if (at_end()) break;
    items.push_back(rules.targets ? primary(rules.with_namespace) : expression(rules.with_condition));
    if (!at_operator(",")) break;
    is_tuple = true;
    offset = current().offset;
  }
  if (!is_tuple) {
    if (!items.empty()) return std::move(items[0]);
    if (!rules.in_parentheses) fail("Expected an expression, got '" + current().description() + "'");
  }
  auto node = make<SequenceExpr>(offset, Expr::Kind::kTuple);
  node->items = std::move(items);
  return node;
}

ExprPtr ExpressionParser::list() {
  auto node = make<SequenceExpr>(advance().offset, Expr::Kind::kList);
  while (!at_operator("]")) {
    if (!node->items.empty()) expect_operator(",");
    if (at_operator("]")) break;
    node->items.push_back(expression());
  }
  expect_operator("]");
  return node;
}

ExprPtr ExpressionParser::dict() {
  auto node = make<DictExpr>(advance().offset);
  while (!at_operator("}")) {
    if (!node->items.empty()) expect_operator(",");
    if (at_operator("}")) break;
    ExprPtr key = expression();
    expect_operator(":");
    node->items.emplace_back(std::move(key), expression());
  }
  expect_operator("}");
  return node;
}

ExprPtr ExpressionParser::postfix(ExprPtr node) {
  for (;; link()) {
    if (at_operator(".") || at_operator("[")) {
      node = subscript(std::move(node));
    } else if (at_operator("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::filters_and_tests(ExprPtr node) {
  for (;; link()) {
    if (at_operator("|")) {
      node = filters(std::move(node));
    } else if (at_name("is")) {
      node = test(std::move(node));
    } else if (at_operator("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::subscript(ExprPtr node) {
  const Token& token = advance();
  if (token.text == ".") {
    const Token& attribute = advance();
    if (attribute.kind == TokenKind::kName) {
      return make<AttributeExpr>(token.offset, std::move(node), template_.constant(attribute.text));
    }
    if (attribute.kind != TokenKind::kInteger) fail("expected name or number", attribute.offset);
    auto index = make<ConstExpr>(attribute.offset, Value::integer(attribute.integer));
    return make<ItemExpr>(token.offset, std::move(node), std::move(index));
  }
  std::vector<ExprPtr> indices;
  while (!at_operator("]")) {
    if (!indices.empty()) expect_operator(",");
    indices.push_back(subscribed());
  }
  expect_operator("]");
  if (indices.size() == 1) return make<ItemExpr>(token.offset, std::move(node), std::move(indices[0]));
  auto index = make<SequenceExpr>(token.offset, Expr::Kind::kTuple);
  for (const auto& item : indices) {
    if (item->kind == Expr::Kind::kSlice)
      fail("invalid syntax", item->offset);  // so says CPython about Jinja2's output
  }
  index->items = std::move(indices);
  return make<ItemExpr>(token.offset, std::move(node), std::move(index));
}

ExprPtr ExpressionParser::subscribed() {
  const size_t offset = current().offset;
  ExprPtr start;
  if (!at_operator(":")) {
    start = expression();
    if (!at_operator(":")) return start;
  }
  advance();
  auto node = make<SliceExpr>(offset);
  const auto at_end = [&] { return at_operator("]") || at_operator(","); };
  node->start = std::move(start);
  if (!at_operator(":") && !at_end()) node->stop = expression();
  if (skip_operator(":") && !at_end()) node->step = expression();
  return node;
}

ArgumentExprs ExpressionParser::call_arguments() {
  const size_t offset = current().offset;
  expect_operator("(");
  ArgumentExprs result;
  const auto ensure = [&](bool fine) {
    if (!fine) fail("invalid syntax for function call expression", offset);
  };
  bool first = true;
  while (!at_operator(")")) {
    if (!first) {
      expect_operator(",");
      if (at_operator(")")) break;
    }
    first = false;
    if (skip_operator("*")) {
      ensure(!result.more_positional && !result.more_keyword);
      result.more_positional = expression();
    } else if (skip_operator("**")) {
      ensure(!result.more_keyword);
      result.more_keyword = expression();
    } else if (current().kind == TokenKind::kName && ahead().is_operator("=")) {
      ensure(!result.more_keyword);
      std::string key = advance().text;
      advance();
      for (const auto& [other, value] : result.keyword) {
        if (other == key) fail("keyword argument repeated: " + key);
      }
      result.keyword.emplace_back(std::move(key), expression());
    } else {
      ensure(!result.more_positional && !result.more_keyword && result.keyword.empty());
      result.positional.push_back(expression());
    }
  }
  expect_operator(")");
  return result;
}

ExprPtr ExpressionParser::call(ExprPtr callee) {
  auto node = make<CallExpr>(current().offset);
  node->callee = std::move(callee);
  node->arguments = call_arguments();
  return node;
}

std::string ExpressionParser::dotted_name() {
  std::string name = expect(TokenKind::kName, "name").text;
  while (skip_operator(".")) name += "." + expect(TokenKind::kName, "name").text;
  return name;
}

ExprPtr ExpressionParser::filters(ExprPtr input, bool inline_start) {
  while (inline_start || at_operator("|")) {
    link();
    if (!inline_start) advance();
    inline_start = false;
    auto node = make<FilterExpr>(current().offset);
    node->input = std::move(input);
    node->name = dotted_name();
    node->filter = find_filter(node->name);
    if (at_operator("(")) node->arguments = call_arguments();
    input = std::move(node);
  }
  return input;
}

ExprPtr ExpressionParser::test(ExprPtr input) {
  const size_t offset = advance().offset;
  const bool negated = skip_name("not");
  auto node = make<TestExpr>(offset);
  node->input = std::move(input);
  node->name = dotted_name();
  node->test = find_test(node->name);
  const TokenKind kind = current().kind;
  if (at_operator("(")) {
    node->arguments = call_arguments();
  } else if ((kind == TokenKind::kName || kind == TokenKind::kString || kind == TokenKind::kInteger ||
              kind == TokenKind::kFloat || at_operator("[") || at_operator("{")) &&
             !at_name("else") && !at_name("or") && !at_name("and")) {
    if (at_name("is")) fail("You cannot chain multiple tests with is");
    node->arguments.positional.push_back(postfix(primary()));
  }
  if (!negated) return node;
  return make<UnaryExpr>(offset, Expr::Kind::kNot, std::move(node));
}

void ExpressionParser::mark_as_target(Expr& target) {
  if (target.kind == Expr::Kind::kName) {
    static_cast<NameExpr&>(target).use = NameExpr::Use::kStore;
  } else if (target.kind == Expr::Kind::kTuple) {
    for (const auto& item : static_cast<SequenceExpr&>(target).items) mark_as_target(*item);
  } else if (target.kind != Expr::Kind::kNamespaceRef) {
    fail(std::string("can't assign to '") + kind_name(target.kind) + "'", target.offset);
  }
}

ExprPtr ExpressionParser::assign_target(std::string_view end_name, bool with_namespace) {
  ExprPtr target = tuple({.targets = true, .end_name = end_name, .with_namespace = with_namespace});
  mark_as_target(*target);
  return target;
}

std::unique_ptr<NameExpr> ExpressionParser::name_target(NameExpr::Use use) {
  const Token& token = expect(TokenKind::kName, "name");
  for (std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
    if (token.text == constant) fail("can't assign to 'name'", token.offset);
  }
  return make<NameExpr>(token.offset, template_.constant(token.text), use);
}

}  // namespace carronade::jinja
