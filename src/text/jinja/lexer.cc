#include "text/jinja/lexer.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "text/jinja/codepoints.h"
#include "text/jinja/format_value.h"
#include "text/jinja/string_literal.h"
#include "text/jinja/unicode.h"

namespace carronade::jinja {

namespace {

constexpr size_t kNone = std::string_view::npos;

bool is_digit_of(char c, int base) {
  if (base == 16) return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  return c >= '0' && c < '0' + base;
}

class Lexer {
 public:
  explicit Lexer(const std::string& source) : source_(source) {}

  std::vector<Token> run() {
    while (position_ < source_.size()) root();
    emit(TokenKind::kEnd, source_.size(), "");
    return std::move(tokens_);
  }

 private:
  // Text up to the next tag, and the tag.
  void root() {
    size_t tag = position_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == kNone || tag + 1 >= source_.size()) {
        data(source_.size(), source_.size());
        position_ = source_.size();
        return;
      }
      const char c = source_[tag + 1];
      if (c == '%' || c == '{' || c == '#') break;
      ++tag;
    }
    const char kind = source_[tag + 1];
    size_t after = tag + 2;
    const char sign = after < source_.size() && (source_[after] == '-' || source_[after] == '+') ? source_[after++] : 0;
    data(tag, text_end(tag, sign, kind != '{'));
    if (kind == '#') {
      comment(after);
    } else if (kind == '{') {
      expression(tag, after, TokenKind::kVariableBegin);
    } else if (const size_t body = raw_body(after); body != kNone) {
      raw(body);
    } else {
      expression(tag, after, TokenKind::kBlockBegin);
    }
  }

  // Where the text before a tag ends, once white space control had its way.
  size_t text_end(size_t tag, char sign, bool may_strip_line) {
    const std::string_view text = view(position_, tag);
    if (sign == '-') return position_ + strip_space(text, Side::kRight).size();
    if (sign == '+' || !may_strip_line) return tag;
    const size_t newline = text.rfind('\n');
    const size_t line = newline == kNone ? 0 : newline + 1;
    if (line == 0 && !at_line_start()) return tag;
    return strip_space(text.substr(line), Side::kBoth).empty() ? position_ + line : tag;
  }

  bool at_line_start() const { return position_ == 0 || source_[position_ - 1] == '\n'; }

  void data(size_t /*tag*/, size_t end) {
    if (end > position_) emit(TokenKind::kData, position_, std::string(view(position_, end)));
  }

  // Behind the end of a tag, `sign` being what stood before it; `trim` eats one newline.
  void close(size_t after, char sign, bool trim) {
    position_ = after;
    if (sign == '-') {
      position_ = skip_space(position_);
    } else if (trim && sign != '+' && position_ < source_.size() && source_[position_] == '\n') {
      ++position_;
    }
  }

  void comment(size_t body) {
    const size_t end = source_.find("#}", body);
    if (end == kNone) fail_at(source_, body, "Missing end of comment tag");
    const char sign = end > body ? source_[end - 1] : 0;
    close(end + 2, sign == '-' || sign == '+' ? sign : 0, true);
  }

  // The start of a raw block's content if the tag that opens before `after` is one.
  size_t raw_body(size_t after) const {
    size_t i = skip_space(after);
    if (source_.compare(i, 3, "raw") != 0) return kNone;
    i = skip_space(i + 3);
    if (source_.compare(i, 3, "-%}") == 0) return skip_space(i + 3);
    return source_.compare(i, 2, "%}") == 0 ? i + 2 : kNone;
  }

  void raw(size_t body) {
    position_ = body;
    for (size_t tag = source_.find("{%", body); tag != kNone; tag = source_.find("{%", tag + 1)) {
      size_t i = tag + 2;
      const char sign = i < source_.size() && (source_[i] == '-' || source_[i] == '+') ? source_[i++] : 0;
      i = skip_space(i);
      if (source_.compare(i, 6, "endraw") != 0) continue;
      i = skip_space(i + 6);
      const char closing = i < source_.size() && (source_[i] == '-' || source_[i] == '+') ? source_[i++] : 0;
      if (source_.compare(i, 2, "%}") != 0) continue;
      data(tag, text_end(tag, sign, true));
      close(i + 2, closing, true);
      return;
    }
    fail_at(source_, body, "Missing end of raw directive");
  }

  void expression(size_t tag, size_t after, TokenKind begin) {
    emit(begin, tag, begin == TokenKind::kBlockBegin ? "{%" : "{{");
    position_ = after;
    const bool block = begin == TokenKind::kBlockBegin;
    const std::string_view closing = block ? "%}" : "}}";
    std::string brackets;
    while (true) {
      if (brackets.empty() && try_close(closing, block)) return;
      position_ = skip_space(position_);
      if (brackets.empty() && try_close(closing, block)) return;
      if (position_ >= source_.size()) return;
      token(brackets);
    }
  }

  bool try_close(std::string_view closing, bool block) {
    size_t i = position_;
    const char c = i < source_.size() ? source_[i] : 0;
    const char sign = c == '-' || (c == '+' && block) ? c : 0;
    if (sign) ++i;
    if (source_.compare(i, 2, closing) != 0) return false;
    emit(block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, position_, std::string(closing));
    close(i + 2, sign, block);
    return true;
  }

  void token(std::string& brackets) {
    const size_t begin = position_;
    const char c = source_[begin];
    if (c >= '0' && c <= '9') {
      number();
    } else if (c == '\'' || c == '"') {
      string(c);
    } else if (!name()) {
      operation(brackets);
    }
  }

  // Digits with single underscores between them; returns the end, or `from` if there are none.
  size_t digits(size_t from, int base) const {
    size_t i = from;
    while (i < source_.size()) {
      if (is_digit_of(source_[i], base)) {
        ++i;
      } else if (source_[i] == '_' && i > from && i + 1 < source_.size() && is_digit_of(source_[i + 1], base)) {
        ++i;
      } else {
        break;
      }
    }
    return i;
  }

  // The end of a float that begins here, or 0.
  size_t float_end() const {
    if (position_ > 0 && source_[position_ - 1] == '.') return 0;
    const size_t whole = digits(position_, 10);
    size_t i = whole;
    if (i < source_.size() && source_[i] == '.' && digits(i + 1, 10) > i + 1) i = digits(i + 1, 10);
    if (i < source_.size() && (source_[i] == 'e' || source_[i] == 'E')) {
      size_t exponent = i + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
      if (digits(exponent, 10) > exponent) return digits(exponent, 10);
    }
    return i > whole ? i : 0;
  }

  void number() {
    const size_t begin = position_;
    if (const size_t end = float_end()) {
      emit(TokenKind::kFloat, begin, spelled_number(begin, end));
      tokens_.back().real = std::strtod(tokens_.back().text.c_str(), nullptr);
      position_ = end;
      return;
    }
    int base = 10;
    size_t from = begin;
    if (source_[begin] == '0' && begin + 2 < source_.size()) {
      const char mark = static_cast<char>(source_[begin + 1] | 32);
      const int wanted = mark == 'b' ? 2 : mark == 'o' ? 8 : mark == 'x' ? 16 : 10;
      const size_t first = source_[begin + 2] == '_' ? begin + 3 : begin + 2;
      if (wanted != 10 && first < source_.size() && is_digit_of(source_[first], wanted)) {
        base = wanted;
        from = first;
      }
    }
    size_t end = digits(from, base);
    if (base == 10 && source_[begin] == '0') {  // 007 is two tokens
      end = begin + 1;
      while (end < source_.size() && (source_[end] == '0' || (source_[end] == '_' && source_[end - 1] == '0' &&
                                                              end + 1 < source_.size() && source_[end + 1] == '0'))) {
        ++end;
      }
    }
    emit(TokenKind::kInteger, begin, spelled_number(begin, end));
    tokens_.back().integer = parse_integer(spelled_number(from, end), base, begin);
    position_ = end;
  }

  std::string spelled_number(size_t begin, size_t end) const {
    std::string text(view(begin, end));
    std::erase(text, '_');
    return text;
  }

  int64_t parse_integer(const std::string& text, int base, size_t offset) const {
    errno = 0;
    const long long value = std::strtoll(text.c_str(), nullptr, base);
    if (errno != 0) fail_at(source_, offset, "integer literals beyond 64 bits are not supported");
    return value;
  }

  void string(char quote) {
    const size_t begin = position_;
    size_t end = begin + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) unexpected(begin);
    std::string content;
    if (const char* error = unescape_literal(view(begin + 1, end), content)) fail_at(source_, begin, error);
    emit(TokenKind::kString, begin, std::move(content));
    position_ = end + 1;
  }

  bool name() {
    size_t end = position_;
    while (end < source_.size()) {
      const char c = source_[end];
      if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9')) {
        ++end;
        continue;
      }
      size_t next = end;
      const char32_t wide = next_codepoint(source_, next);
      if (wide < 0x80 || !(continues_identifier(wide) || is_word(wide))) break;
      if (!(end == position_ ? starts_identifier(wide) : continues_identifier(wide))) {
        fail_at(source_, position_, "Invalid character in identifier");
      }
      end = next;
    }
    if (end == position_) return false;
    emit(TokenKind::kName, position_, std::string(view(position_, end)));
    position_ = end;
    return true;
  }

  void operation(std::string& brackets) {
    static constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    static constexpr std::string_view kOne = "+-/*%~[](){}><=.:|,;";
    const std::string_view rest = view(position_, source_.size());
    size_t length =
        std::any_of(std::begin(kTwo), std::end(kTwo), [&](auto op) { return rest.starts_with(op); }) ? 2 : 1;
    const char c = rest[0];
    if (length == 1 && kOne.find(c) == kNone) unexpected(position_);
    if (c == '{') brackets += '}';
    if (c == '(') brackets += ')';
    if (c == '[') brackets += ']';
    if (c == '}' || c == ')' || c == ']') {
      if (brackets.empty()) fail_at(source_, position_, std::string("unexpected '") + c + "'");
      if (brackets.back() != c) {
        fail_at(source_, position_, std::string("unexpected '") + c + "', expected '" + brackets.back() + "'");
      }
      brackets.pop_back();
    }
    emit(TokenKind::kOperator, position_, std::string(rest.substr(0, length)));
    position_ += length;
  }

  [[noreturn]] void unexpected(size_t at) const {
    size_t end = at;
    next_codepoint(source_, end);
    fail_at(source_, at,
            "unexpected char " + repr_text(view(at, end)) + " at " + std::to_string(count_codepoints(view(0, at))));
  }

  std::string_view view(size_t begin, size_t end) const { return std::string_view(source_).substr(begin, end - begin); }

  size_t skip_space(size_t from) const {
    if (from >= source_.size()) return source_.size();
    return source_.size() - strip_space(view(from, source_.size()), Side::kLeft).size();
  }

  void emit(TokenKind kind, size_t offset, std::string text) { tokens_.push_back({kind, offset, std::move(text)}); }

  const std::string& source_;
  size_t position_ = 0;
  std::vector<Token> tokens_;
};

}  // namespace

std::string Token::description() const {
  switch (kind) {
    case TokenKind::kData:
      return "template data / text";
    case TokenKind::kBlockBegin:
      return "begin of statement block";
    case TokenKind::kBlockEnd:
      return "end of statement block";
    case TokenKind::kVariableBegin:
      return "begin of print statement";
    case TokenKind::kVariableEnd:
      return "end of print statement";
    case TokenKind::kString:
      return "string";
    case TokenKind::kInteger:
      return "integer";
    case TokenKind::kFloat:
      return "float";
    case TokenKind::kEnd:
      return "end of template";
    case TokenKind::kName:
    case TokenKind::kOperator:
      break;
  }
  return text;
}

std::string normalize_source(std::string_view source) {
  std::string result;
  result.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      result += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      result += source[i];
    }
  }
  if (result.ends_with('\n')) result.pop_back();
  return result;
}

std::vector<Token> tokenize(const std::string& normalized_source) { return Lexer(normalized_source).run(); }

void fail_at(std::string_view source, size_t offset, std::string_view message) {
  const std::string_view before = source.substr(0, offset);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t newline = before.rfind('\n');
  const size_t column = count_codepoints(newline == kNone ? before : before.substr(newline + 1)) + 1;
  throw_error(ErrorCode::kInvalidArgument, "chat template, line {}, column {}: {}", line, column, message);
}

}  // namespace carronade::jinja
