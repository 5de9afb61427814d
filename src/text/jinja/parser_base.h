// The token stream that both halves of the parser read, and its errors.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace carronade::jinja {

class ParserBase {
 protected:
  explicit ParserBase(Template& tree) : template_(tree), tokens_(tokenize(tree.source)) {}

  const Token& current() const { return tokens_[position_]; }
  const Token& ahead() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  const Token& advance() {
    const Token& token = tokens_[position_];
    if (position_ + 1 < tokens_.size()) ++position_;
    return token;
  }
  bool at_operator(std::string_view spelling) const { return current().is_operator(spelling); }
  bool at_name(std::string_view name) const { return current().is_name(name); }
  bool skip_operator(std::string_view spelling) {
    if (!at_operator(spelling)) return false;
    advance();
    return true;
  }
  bool skip_name(std::string_view name) {
    if (!at_name(name)) return false;
    advance();
    return true;
  }
  const Token& expect(TokenKind kind, const char* called) {
    if (current().kind != kind) unexpected(called);
    return advance();
  }
  void expect_operator(std::string_view spelling) {
    if (!skip_operator(spelling)) unexpected(spelling);
  }
  void expect_name(std::string_view name) {
    if (!skip_name(name)) unexpected(name);
  }

  [[noreturn]] void unexpected(std::string_view wanted) const;
  [[noreturn]] void fail(std::string_view message) const { fail_at(template_.source, current().offset, message); }
  [[noreturn]] void fail(std::string_view message, size_t offset) const { fail_at(template_.source, offset, message); }

  template <typename T, typename... Args>
  static std::unique_ptr<T> make(size_t offset, Args&&... args) {
    auto node = std::make_unique<T>(std::forward<Args>(args)...);
    node->offset = offset;
    return node;
  }

  // One level of nested syntax, for the time of a scope.
  class Level {
   public:
    explicit Level(ParserBase& parser) : parser_(parser) {
      if (++parser_.level_ > kMaxNesting) parser_.too_deep();
    }
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    ParserBase& parser_;
  };

  // One more operator in a chain such as a.b.c or a + b + c, whose tree is as deep as the chain is long.
  void link() {
    if (++links_ > kMaxLinks) too_long();
  }
  void begin_tag() { links_ = 0; }

  Template& template_;

 private:
  // An expression in parentheses is two levels. CPython, to whose compiler Jinja2 hands its output, allows 200 nested
  // parentheses.
  static constexpr int kMaxNesting = 400;
  static constexpr int kMaxLinks = 2000;
  [[noreturn]] void too_long() const;
  [[noreturn]] void too_deep() const;

  std::vector<Token> tokens_;
  size_t position_ = 0;
  int level_ = 0;
  int links_ = 0;
};

}  // namespace carronade::jinja
