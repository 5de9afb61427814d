// The expression half of the parser. Every method is one precedence level of Jinja2's grammar, lowest first.
#pragma once

#include <string_view>

#include "text/jinja/parser_base.h"

namespace carronade::jinja {

class ExpressionParser : public ParserBase {
 protected:
  using ParserBase::ParserBase;

  ExprPtr expression(bool with_condition = true);
  // Several expressions with commas between them make a tuple. `end_name` ends it, as `in` does in a loop.
  struct TupleRules {
    bool targets = false;  // names and literals only
    bool with_condition = true;
    std::string_view end_name = {};
    bool in_parentheses = false;
    bool with_namespace = false;
  };
  ExprPtr tuple(const TupleRules& rules);
  // What can be assigned to. Throws for anything else.
  ExprPtr assign_target(std::string_view end_name = {}, bool with_namespace = false);
  std::unique_ptr<NameExpr> name_target(NameExpr::Use use);
  // Filters after `input`; a leading `|` is optional where `inline_start`.
  ExprPtr filters(ExprPtr input, bool inline_start = false);

 private:
  ExprPtr condition();
  ExprPtr disjunction();
  ExprPtr conjunction();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filter = true);
  ExprPtr primary(bool with_namespace = false);
  ExprPtr name(bool with_namespace);
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr node);
  ExprPtr filters_and_tests(ExprPtr node);
  ExprPtr subscript(ExprPtr node);
  ExprPtr subscribed();
  ExprPtr call(ExprPtr callee);
  ExprPtr test(ExprPtr input);
  std::string dotted_name();
  ArgumentExprs call_arguments();
  void mark_as_target(Expr& target);
};

}  // namespace carronade::jinja
