#include "text/jinja/format_value.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "text/jinja/codepoints.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/unicode.h"

namespace carronade::jinja {

namespace {

constexpr int kMaxPrintedNesting = 400;  // below what the stack holds, above any sensible data

void append_escaped(std::string& out, char32_t c, char quote, bool ascii) {
  if (c == static_cast<char32_t>(quote) || c == '\\') {
    out += '\\';
    out += static_cast<char>(c);
  } else if (c == '\n') {
    out += "\\n";
  } else if (c == '\r') {
    out += "\\r";
  } else if (c == '\t') {
    out += "\\t";
  } else if (c < 0x20 || c == 0x7F) {
    out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
  } else if (c < 0x7F || (!ascii && is_printable(c))) {
    append_utf8(out, c);
  } else if (c < 0x100) {
    out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
  } else if (c < 0x10000) {
    out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
  } else {
    out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
  }
}

// Appends with a bound on nesting and size.
class Printer {
 public:
  explicit Printer(std::string& out) : out_(out) {}

  void repr(const Value& value) {
    if (value.is_object() && value.object()->budget()) {
      budget_ = value.object()->budget();
      budget_->step();
      budget_->check_size(out_.size());
    }
    switch (value.type()) {
      case Type::kMissing:
        out_ += "missing";
        break;
      case Type::kNone:
        out_ += "None";
        break;
      case Type::kBool:
        out_ += value.as_bool() ? "True" : "False";
        break;
      case Type::kInt:
        out_ += std::to_string(value.as_int());
        break;
      case Type::kFloat:
        out_ += repr_float(value.as_float());
        break;
      case Type::kUndefined:
        out_ += "Undefined";
        break;
      case Type::kString:
        text(value.as<String>());
        break;
      case Type::kList:
        sequence(value.as<List>().items(), "[", "]", false);
        break;
      case Type::kTuple:
        sequence(value.as<List>().items(), "(", ")", true);
        break;
      case Type::kDict:
        dict(value.as<Dict>());
        break;
      case Type::kDictView:
        view(value.as<DictView>());
        break;
      case Type::kRange:
        range(value.as<Range>());
        break;
      case Type::kNamespace:
        out_ += "<Namespace ";
        dict(value.as<Namespace>().attributes);
        out_ += ">";
        break;
      default:
        out_ += opaque_repr(value);
        break;
    }
  }

 private:
  void text(const String& string) {
    if (string.markup()) out_ += "Markup(";
    out_ += repr_text(string.view());
    if (string.markup()) out_ += ")";
  }

  void sequence(const std::vector<Value>& items, const char* open, const char* close, bool tuple) {
    deeper();
    out_ += open;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i) out_ += ", ";
      repr(items[i]);
    }
    if (tuple && items.size() == 1) out_ += ",";
    out_ += close;
    --nesting_;
  }

  void dict(const Dict& dict) {
    deeper();
    out_ += "{";
    bool first = true;
    for (const auto& [key, value] : dict.entries()) {
      if (!first) out_ += ", ";
      first = false;
      repr(key);
      out_ += ": ";
      repr(value);
    }
    out_ += "}";
    --nesting_;
  }

  void view(const DictView& view) {
    deeper();
    static constexpr const char* kNames[] = {"dict_keys([", "dict_values([", "dict_items(["};
    out_ += kNames[static_cast<int>(view.kind())];
    bool first = true;
    for (const auto& [key, value] : view.dict().entries()) {
      if (!first) out_ += ", ";
      first = false;
      if (view.kind() == DictView::Kind::kItems) out_ += "(";
      if (view.kind() != DictView::Kind::kValues) repr(key);
      if (view.kind() == DictView::Kind::kItems) out_ += ", ";
      if (view.kind() != DictView::Kind::kKeys) repr(value);
      if (view.kind() == DictView::Kind::kItems) out_ += ")";
    }
    out_ += "])";
    --nesting_;
  }

  void range(const Range& range) {
    out_ += fmt::format("range({}, {}", range.start, range.stop);
    if (range.step != 1) out_ += fmt::format(", {}", range.step);
    out_ += ")";
  }

  // Python prints an address here, which no prompt can depend on.
  static std::string opaque_repr(const Value& value) {
    if (value.is(Type::kMacro)) {
      const std::string& name = value.as<Macro>().plan.name;
      return name.empty() ? "<Macro anonymous>" : "<Macro " + repr_text(name) + ">";
    }
    if (value.is(Type::kLoop)) {
      const Loop& loop = value.as<Loop>();
      if (const int64_t length = length_of(loop.iterable); length >= 0)
        return fmt::format("<LoopContext {}/{}>", loop.index0 + 1, length);
    }
    if (value.is(Type::kFunction)) return fmt::format("<built-in function {}>", value.as<Function>().name);
    return fmt::format("<{} object>", type_name(value));
  }

  void deeper() {
    if (++nesting_ > kMaxPrintedNesting) raise("maximum recursion depth exceeded while getting the repr of an object");
  }

  std::string& out_;
  Budget* budget_ = nullptr;
  int nesting_ = 0;
};

}  // namespace

void append_repr(std::string& out, const Value& value) { Printer(out).repr(value); }

void append_str(std::string& out, const Value& value) {
  if (value.is_string()) {
    out += value.as<String>().view();
  } else if (!value.is_undefined()) {
    append_repr(out, value);
  }
}

std::string str(const Value& value) {
  std::string result;
  append_str(result, value);
  return result;
}

std::string repr(const Value& value) {
  std::string result;
  append_repr(result, value);
  return result;
}

std::string repr_text(std::string_view text, bool ascii) {
  const bool single = text.find('\'') != std::string_view::npos;
  const bool twofold = text.find('"') != std::string_view::npos;
  const char quote = single && !twofold ? '"' : '\'';
  std::string result(1, quote);
  result.reserve(text.size() + 2);
  for (size_t i = 0; i < text.size();) append_escaped(result, next_codepoint(text, i), quote, ascii);
  return result += quote;
}

std::string repr_float(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  char buffer[40] = {};
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  std::string result;
  if (text[0] == '-') {
    result = "-";
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  const int exponent = static_cast<int>(std::strtol(text.data() + e + 1, nullptr, 10));
  std::string digits(1, text[0]);
  if (e > 2) digits += text.substr(2, e - 2);
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    result += digits[0];
    if (count > 1) result.append(1, '.').append(digits, 1);
    return result + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return result.append("0.").append(static_cast<size_t>(-exponent - 1), '0').append(digits);
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return result.append(digits).append(whole - digits.size(), '0').append(".0");
  return result.append(digits, 0, whole).append(1, '.').append(digits, whole);
}

}  // namespace carronade::jinja
