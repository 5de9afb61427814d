#include "text/jinja/parser.h"

#include <optional>
#include <set>

#include "base/error.h"
#include "text/jinja/codepoints.h"
#include "text/jinja/expression_parser.h"
#include "text/jinja/scope.h"

namespace carronade::jinja {

namespace {

// The statement half of the parser.
class Parser : public ExpressionParser {
 public:
  explicit Parser(Template& tree) : ExpressionParser(tree) {}

  void run() { template_.body = body({}); }

 private:
  using EndTags = std::vector<std::string_view>;

  // Statements up to one of the end tags, which stays current; up to the end of the template if none are given.
  Body body(const EndTags& ends) {
    const Level level(*this);
    Body result;
    std::unique_ptr<OutputStmt> output;
    const auto flush = [&] {
      if (output) result.push_back(std::move(output));
    };
    if (!ends.empty()) open_.push_back(ends);
    while (current().kind != TokenKind::kEnd) {
      const Token& token = current();
      if (token.kind == TokenKind::kBlockBegin) {
        flush();
        advance();
        begin_tag();
        for (std::string_view end : ends) {
          if (!at_name(end)) continue;
          open_.pop_back();
          return result;
        }
        if (StmtPtr stmt = statement()) result.push_back(std::move(stmt));
        expect(TokenKind::kBlockEnd, "end of statement block");
        continue;
      }
      if (!output) output = make<OutputStmt>(token.offset);
      advance();
      if (token.kind == TokenKind::kData) {
        output->pieces.push_back({token.text, nullptr});
      } else {
        begin_tag();
        output->pieces.push_back({"", tuple({})});
        expect(TokenKind::kVariableEnd, "end of print statement");
      }
    }
    flush();
    if (!ends.empty()) fail_unclosed(std::nullopt);
    return result;
  }

  // A tag's body: behind the tag's end, up to one of the end tags.
  Body block(const EndTags& ends) {
    skip_operator(":");  // for Python's sake
    expect(TokenKind::kBlockEnd, "end of statement block");
    return body(ends);
  }
  Body block_until(std::string_view end) {
    Body result = block({end});
    advance();
    return result;
  }

  [[noreturn]] void fail_unclosed(const std::optional<std::string>& tag) const {
    std::string message = tag ? "Encountered unknown tag '" + *tag + "'." : "Unexpected end of template.";
    bool nesting = false;
    for (const auto& ends : open_) {
      for (std::string_view end : ends) nesting = nesting || (tag && end == *tag);
    }
    if (!open_.empty()) {
      std::string wanted;
      for (std::string_view end : open_.back()) wanted += (wanted.empty() ? "'" : " or '") + std::string(end) + "'";
      message += nesting
                     ? " You probably made a nesting mistake. Jinja is expecting this tag, but currently looking for " +
                           wanted + "."
                     : " Jinja was looking for the following tags: " + wanted + ".";
    }
    if (!tags_.empty()) message += " The innermost block that needs to be closed is '" + tags_.back() + "'.";
    fail(message);
  }

  StmtPtr statement() {
    const Token& token = current();
    if (token.kind != TokenKind::kName) fail("tag name expected");
    using Method = StmtPtr (Parser::*)();
    static constexpr std::pair<std::string_view, Method> kTags[] = {
        {"if", &Parser::if_tag},
        {"for", &Parser::for_tag},
        {"set", &Parser::set_tag},
        {"macro", &Parser::macro_tag},
        {"call", &Parser::call_tag},
        {"filter", &Parser::filter_tag},
        {"with", &Parser::with_tag},
        {"print", &Parser::print_tag},
        {"block", &Parser::block_tag},
        {"break", &Parser::jump_tag},
        {"continue", &Parser::jump_tag},
        {"generation", &Parser::generation_tag},
        {"include", &Parser::include_tag},
        {"import", &Parser::import_tag},
        {"from", &Parser::from_tag},
        {"extends", &Parser::include_tag},
        {"autoescape", &Parser::autoescape_tag},
    };
    for (const auto& [name, method] : kTags) {
      if (token.text != name) continue;
      tags_.push_back(token.text);
      StmtPtr result = (this->*method)();
      tags_.pop_back();
      return result;
    }
    fail_unclosed(token.text);
  }

  StmtPtr if_tag() {
    auto node = make<IfStmt>(current().offset);
    do {
      advance();
      IfStmt::Branch branch;
      branch.test = tuple({.with_condition = false});
      branch.body = block({"elif", "else", "endif"});
      node->branches.push_back(std::move(branch));
    } while (at_name("elif"));
    if (advance().text == "else") node->otherwise = block_until("endif");
    return node;
  }

  StmtPtr for_tag() {
    auto node = make<ForStmt>(advance().offset);
    node->target = assign_target("in");
    expect_name("in");
    node->iterable = tuple({.with_condition = false, .end_name = "recursive"});
    if (skip_name("if")) node->filter = expression();
    node->recursive = skip_name("recursive");
    const int loops = std::exchange(loop_nesting_, loop_nesting_ + 1);
    if (loop_nesting_ > kMaxLoops) fail("too many statically nested blocks");
    node->body = block({"endfor", "else"});
    loop_nesting_ = loops;
    if (advance().text == "else") node->otherwise = block_until("endfor");
    return node;
  }

  StmtPtr set_tag() {
    const size_t offset = advance().offset;
    ExprPtr target = assign_target({}, true);
    if (skip_operator("=")) {
      auto node = make<AssignStmt>(offset);
      node->target = std::move(target);
      node->value = tuple({});
      return node;
    }
    auto node = make<AssignBlockStmt>(offset);
    node->target = std::move(target);
    node->filter = filters(nullptr);
    node->body = block_until("endset");
    return node;
  }

  std::vector<Parameter> signature() {
    std::vector<Parameter> result;
    std::set<std::string_view> names;
    expect_operator("(");
    while (!at_operator(")")) {
      if (!result.empty()) expect_operator(",");
      Parameter parameter;
      parameter.name = name_target(NameExpr::Use::kParameter);
      if (skip_operator("=")) {
        parameter.fallback = expression();
      } else if (!result.empty() && result.back().fallback) {
        fail("non-default argument follows default argument");
      }
      if (!names.insert(parameter.name->text()).second) {
        fail("duplicate argument '" + std::string(parameter.name->text()) + "'", parameter.name->offset);
      }
      result.push_back(std::move(parameter));
    }
    expect_operator(")");
    return result;
  }

  // A macro's body is a function of its own: loops around it cannot be broken out of.
  Body function_body(std::string_view end) {
    const int loops = std::exchange(loop_nesting_, 0);
    Body result = block_until(end);
    loop_nesting_ = loops;
    return result;
  }

  StmtPtr macro_tag() {
    auto node = make<MacroStmt>(advance().offset);
    node->target = name_target(NameExpr::Use::kStore);
    node->macro.name = node->target->text();
    node->macro.parameters = signature();
    node->macro.body = function_body("endmacro");
    return node;
  }

  StmtPtr call_tag() {
    auto node = make<CallBlockStmt>(advance().offset);
    if (at_operator("(")) node->macro.parameters = signature();
    node->call = expression();
    if (node->call->kind != Expr::Kind::kCall) fail("expected call", node->offset);
    node->macro.body = function_body("endcall");
    return node;
  }

  StmtPtr filter_tag() {
    auto node = make<FilterBlockStmt>(advance().offset);
    node->filter = filters(nullptr, true);
    node->body = block_until("endfilter");
    return node;
  }

  StmtPtr with_tag() {
    auto node = make<WithStmt>(advance().offset);
    while (current().kind != TokenKind::kBlockEnd) {
      if (!node->assignments.empty()) expect_operator(",");
      ExprPtr target = assign_target();
      expect_operator("=");
      node->assignments.emplace_back(std::move(target), expression());
    }
    node->body = block_until("endwith");
    return node;
  }

  StmtPtr print_tag() {
    auto node = make<OutputStmt>(advance().offset);
    while (current().kind != TokenKind::kBlockEnd) {
      if (!node->pieces.empty()) expect_operator(",");
      node->pieces.push_back({"", expression()});
    }
    return node;
  }

  StmtPtr block_tag() {
    auto node = make<BlockStmt>(advance().offset);
    node->name = expect(TokenKind::kName, "name").text;
    node->scoped = skip_name("scoped");
    node->required = skip_name("required");
    if (at_operator("-")) {
      fail(
          "Block names in Jinja have to be valid Python identifiers and may not contain hyphens, use an underscore "
          "instead.");
    }
    node->body = function_body("endblock");
    if (node->required) check_required(node->body);
    skip_name(node->name);
    if (!block_names_.insert(node->name).second) {
      fail("block '" + node->name + "' defined twice", node->offset);
    }
    template_.has_blocks = true;
    return node;
  }

  void check_required(const Body& body) {
    for (const auto& stmt : body) {
      bool blank = stmt->kind == Stmt::Kind::kOutput;
      if (blank) {
        for (const auto& piece : static_cast<const OutputStmt&>(*stmt).pieces) {
          blank = blank && !piece.expression && strip_space(piece.text, Side::kBoth).empty();
        }
      }
      if (!blank) fail("Required blocks can only contain comments or whitespace");
    }
  }

  StmtPtr jump_tag() {
    const Token& token = advance();
    const bool breaks = token.text == "break";
    if (loop_nesting_ == 0) {
      fail(breaks ? "'break' outside loop" : "'continue' not properly in loop", token.offset);
    }
    return make<JumpStmt>(token.offset, breaks ? Stmt::Kind::kBreak : Stmt::Kind::kContinue);
  }

  StmtPtr generation_tag() {
    auto node = make<GenerationStmt>(advance().offset);
    node->macro.body = function_body("endgeneration");
    return node;
  }

  StmtPtr autoescape_tag() {
    auto node = make<ScopeStmt>(advance().offset);
    const ExprPtr on = expression();
    if (on->kind != Expr::Kind::kConst || truthy(static_cast<const ConstExpr&>(*on).value)) {
      throw_error(ErrorCode::kUnsupported, "the chat template switches HTML escaping on, which is not supported");
    }
    node->body = block_until("endautoescape");
    return node;
  }

  void skip_context_clause() {
    if ((at_name("with") || at_name("without")) && ahead().is_name("context")) {
      advance();
      advance();
    }
  }

  StmtPtr include_tag() {
    const bool include = current().text == "include";
    auto node = make<NoLoaderStmt>(advance().offset);
    node->name = expression();
    if (!include) return node;
    if (at_name("ignore") && ahead().is_name("missing")) {
      advance();
      advance();
    }
    skip_context_clause();
    return node;
  }

  StmtPtr import_tag() {
    auto node = make<NoLoaderStmt>(advance().offset);
    node->name = expression();
    expect_name("as");
    name_target(NameExpr::Use::kStore);
    skip_context_clause();
    return node;
  }

  StmtPtr from_tag() {
    auto node = make<NoLoaderStmt>(advance().offset);
    node->name = expression();
    expect_name("import");
    for (bool first = true; first || skip_operator(","); first = false) {
      if ((at_name("with") || at_name("without")) && ahead().is_name("context")) break;
      if (name_target(NameExpr::Use::kStore)->text().starts_with("_")) {
        fail("names starting with an underline can not be imported");
      }
      if (skip_name("as")) name_target(NameExpr::Use::kStore);
    }
    skip_context_clause();
    return node;
  }

  static constexpr int kMaxLoops = 20;  // CPython's bound on nested blocks, which Jinja2's output meets

  std::vector<EndTags> open_;
  std::vector<std::string> tags_;
  std::set<std::string> block_names_;
  int loop_nesting_ = 0;
};

}  // namespace

std::unique_ptr<const Template> parse_template(std::string_view source) {
  constexpr size_t kMaxSource = 4 << 20;  // the longest known template has 20 kB
  if (source.size() > kMaxSource) {
    throw_error(ErrorCode::kTooLarge, "the chat template has {} bytes; at most {} are allowed", source.size(),
                kMaxSource);
  }
  if (!is_valid_utf8(source)) throw_error(ErrorCode::kInvalidArgument, "the chat template is not valid UTF-8");
  auto result = std::make_unique<Template>();
  result->source = normalize_source(source);
  Parser(*result).run();
  resolve_names(*result);
  return result;
}

}  // namespace carronade::jinja
