#include "text/jinja/printf_format.h"

#include <cmath>

#include "text/jinja/codepoints.h"
#include "text/jinja/escape.h"
#include "text/jinja/format_spec.h"
#include "text/jinja/format_value.h"
#include "text/jinja/operators.h"

namespace carronade::jinja {

namespace {

class PrintfFormatter {
 public:
  PrintfFormatter(Interpreter& interpreter, const String& format, const Value& values)
      : interpreter_(interpreter), format_(format.view()), markup_(format.markup()), values_(values) {}

  std::string run() {
    while (position_ < format_.size()) {
      interpreter_.budget().step();
      interpreter_.budget().check_size(out_.size());
      const size_t percent = std::min(format_.find('%', position_), format_.size());
      out_ += format_.substr(position_, percent - position_);
      position_ = percent + 1;
      if (percent < format_.size()) directive();
    }
    // Values left over are an error, unless they came as something with keys, which to Python an undefined value is.
    const bool all_used = values_.is(Type::kTuple) ? used_ >= values_.as<List>().items().size() : used_ > 0;
    const bool by_key =
        values_.is(Type::kDict) || values_.is(Type::kList) || values_.is(Type::kRange) || values_.is(Type::kUndefined);
    if (!all_used && !by_key && !by_name_) {
      raise("not all arguments converted during string formatting");
    }
    return std::move(out_);
  }

 private:
  struct Flags {
    bool left = false, plus = false, space = false, alternate = false, zero = false;
    int64_t width = 0, precision = -1;
  };

  char peek() const {
    if (position_ >= format_.size()) raise("incomplete format");
    return format_[position_];
  }

  Value next_value() {
    if (by_name_) return std::exchange(named_, Value());
    if (values_.is(Type::kTuple)) {
      const auto& items = values_.as<List>().items();
      if (used_ >= items.size()) raise("not enough arguments for format string");
      return items[used_++];
    }
    if (used_++ > 0) raise("not enough arguments for format string");
    return values_;
  }

  int64_t number() {
    if (peek() == '*') {
      ++position_;
      const Value value = next_value();
      if (!value.is_integral()) raise("* wants int");
      return value.as_int();
    }
    int64_t value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + (format_[position_++] - '0');
      if (value > INT32_MAX) raise("width too big");
    }
    return value;
  }

  void look_up_name() {
    int depth = 1;
    const size_t begin = ++position_;
    for (; depth > 0; ++position_) {
      if (position_ >= format_.size()) raise("incomplete format key");
      if (format_[position_] == '(') ++depth;
      if (format_[position_] == ')') --depth;
    }
    if (!values_.is(Type::kDict)) raise("format requires a mapping");
    const std::string_view name = format_.substr(begin, position_ - 1 - begin);
    const Value* found = values_.as<Dict>().find(name);
    if (!found) raise(repr_text(name));
    named_ = *found;
    by_name_ = true;
  }

  void directive() {
    Flags flags;
    by_name_here_ = false;
    if (peek() == '(') {
      look_up_name();
      by_name_here_ = true;
    }
    for (bool more = true; more;) {
      switch (peek()) {
        case '-':
          flags.left = true;
          break;
        case '+':
          flags.plus = true;
          break;
        case ' ':
          flags.space = true;
          break;
        case '#':
          flags.alternate = true;
          break;
        case '0':
          flags.zero = true;
          break;
        default:
          more = false;
      }
      if (more) ++position_;
    }
    flags.width = number();
    if (flags.width < 0) {
      flags.left = true;
      flags.width = -flags.width;
    }
    if (peek() == '.') {
      ++position_;
      flags.precision = std::max<int64_t>(number(), 0);
    }
    if (peek() == 'h' || peek() == 'l' || peek() == 'L') ++position_;
    const char kind = peek();
    ++position_;
    if (kind == '%') {
      out_ += '%';
      return;
    }
    interpreter_.budget().check_size(static_cast<uint64_t>(flags.width));
    if (flags.precision > 0) interpreter_.budget().check_size(static_cast<uint64_t>(flags.precision));
    convert(kind, flags);
  }

  void convert(char kind, const Flags& flags) {
    switch (kind) {
      case 's':
      case 'r':
      case 'a':
        text(kind, flags);
        break;
      case 'c':
        character(flags);
        break;
      case 'd':
      case 'i':
      case 'u':
      case 'o':
      case 'x':
      case 'X':
        integer(kind, flags);
        break;
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        real(kind, flags);
        break;
      default: {
        size_t begin = position_ - 1;
        const char32_t c = next_codepoint(format_, begin);
        raise("unsupported format character '" + std::string(1, static_cast<char>(c < 0x80 ? c : '?')) + "'");
      }
    }
  }

  void text(char kind, const Flags& flags) {
    const Value value = next_value();
    std::string text = kind == 's' ? str(value) : kind == 'r' ? repr(value) : ascii_repr(value);
    if (markup_ && !(kind == 's' && value.is_string() && value.as<String>().markup())) text = escape_html(text);
    if (flags.precision >= 0) text.resize(offset_of(text, static_cast<size_t>(flags.precision)));
    pad(text, flags);
  }

  void character(const Flags& flags) {
    const Value value = next_value();
    std::string text;
    if (value.is_integral()) {
      if (value.as_int() < 0 || value.as_int() > 0x10FFFF) raise("%c arg not in range(0x110000)");
      append_utf8(text, static_cast<char32_t>(value.as_int()));
    } else if (value.is_string() && value.as<String>().length() == 1) {
      text = value.as<String>().view();
    } else {
      raise("%c requires int or char");
    }
    pad(text, flags);
  }

  void integer(char kind, const Flags& flags) {
    const Value value = next_value();
    const bool decimal = kind == 'd' || kind == 'i' || kind == 'u';
    if (value.is_undefined()) raise_undefined(value);
    if (!value.is_integral() && !(decimal && value.is(Type::kFloat))) {
      raise(std::string("%") + kind + " format: " + (decimal ? "a real number" : "an integer") + " is required, not " +
            type_name(value));
    }
    int64_t number = 0;
    if (value.is(Type::kFloat)) {
      const double real = value.as_float();
      if (!std::isfinite(real)) raise("cannot convert float infinity or NaN to integer");
      if (std::fabs(real) >= 9.2e18) raise("integers beyond 64 bits are not supported");
      number = static_cast<int64_t>(real);
    } else {
      number = value.as_int();
    }
    const int base = kind == 'o' ? 8 : kind == 'x' || kind == 'X' ? 16 : 10;
    std::string digits = integer_digits(magnitude_of(number), base, kind == 'X');
    if (flags.precision > static_cast<int64_t>(digits.size())) {
      digits.insert(0, static_cast<size_t>(flags.precision) - digits.size(), '0');
    }
    std::string prefix = sign(number < 0, flags);
    if (flags.alternate && base != 10) prefix += std::string("0") + kind;
    pad_number(prefix, digits, flags);
  }

  void real(char kind, const Flags& flags) {
    const Value value = next_value();
    if (value.is_undefined()) raise_undefined(value);
    if (!value.is_number()) raise(std::string("must be real number, not ") + type_name(value));
    const double number = value.as_float();
    const bool upper = kind == 'E' || kind == 'F' || kind == 'G';
    std::string digits;
    if (std::isnan(number)) {
      digits = upper ? "NAN" : "nan";
    } else if (std::isinf(number)) {
      digits = upper ? "INF" : "inf";
    } else {
      digits = float_digits(std::fabs(number), kind, flags.precision < 0 ? 6 : static_cast<int>(flags.precision),
                            flags.alternate);
    }
    pad_number(sign(std::signbit(number) && !std::isnan(number), flags), digits, flags);
  }

  static std::string sign(bool negative, const Flags& flags) {
    return negative ? "-" : flags.plus ? "+" : flags.space ? " " : "";
  }

  void pad_number(const std::string& prefix, const std::string& digits, const Flags& flags) {
    const auto width = static_cast<size_t>(flags.width);
    if (flags.zero && !flags.left && prefix.size() + digits.size() < width) {
      out_ += prefix + std::string(width - prefix.size() - digits.size(), '0') + digits;
    } else {
      pad(prefix + digits, flags);
    }
  }

  void pad(const std::string& text, const Flags& flags) {
    const auto length = static_cast<int64_t>(count_codepoints(text));
    const auto missing = static_cast<size_t>(std::max<int64_t>(flags.width - length, 0));
    if (!flags.left) out_.append(missing, ' ');
    out_ += text;
    if (flags.left) out_.append(missing, ' ');
  }

  Interpreter& interpreter_;
  std::string_view format_;
  bool markup_;
  const Value& values_;
  std::string out_;
  size_t position_ = 0;
  size_t used_ = 0;
  bool by_name_ = false;
  bool by_name_here_ = false;
  Value named_;
};

}  // namespace

Value format_printf(Interpreter& interpreter, const String& format, const Value& values) {
  interpreter.budget().step_bytes(format.view().size());
  std::string result = PrintfFormatter(interpreter, format, values).run();
  return interpreter.text(std::move(result), format.markup());
}

}  // namespace carronade::jinja
