// Template source to tokens, as jinja2.lexer does with trim_blocks and lstrip_blocks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace carronade::jinja {

enum class TokenKind : uint8_t {
  kData,  // text outside of tags
  kBlockBegin,
  kBlockEnd,
  kVariableBegin,
  kVariableEnd,
  kName,
  kString,  // unescaped
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  size_t offset;     // into the normalized source
  std::string text;  // spelling; of strings and data the content
  int64_t integer = 0;
  double real = 0;

  bool is_operator(std::string_view spelling) const { return kind == TokenKind::kOperator && text == spelling; }
  bool is_name(std::string_view name) const { return kind == TokenKind::kName && text == name; }
  // As error messages call it.
  std::string description() const;
};

// Line breaks become "\n" and one at the end of the source goes, as in Jinja2.
std::string normalize_source(std::string_view source);

// Throws Error{kInvalidArgument} with line and column. The last token is kEnd.
std::vector<Token> tokenize(const std::string& normalized_source);

// Throws Error{kInvalidArgument} "chat template, line L, column C: message".
[[noreturn]] void fail_at(std::string_view normalized_source, size_t offset, std::string_view message);

}  // namespace carronade::jinja
