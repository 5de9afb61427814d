#include "text/splitter.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <utility>

#include "text/unicode.h"

namespace carronade {

namespace {

// How the letters of a contraction are compared: exactly, without ASCII case, or as Unicode folds case.
enum class Case : uint8_t { kExact, kIgnored, kFolded };

constexpr char32_t kLongS = 0x17F;  // folds to "s", so (?i:'s) matches it

// A position in a text, with the class of the character there.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text), classes_(CharClasses::instance()) {}

  size_t size() const { return text_.size(); }
  bool at_end(size_t p) const { return p >= text_.size(); }
  unsigned char byte(size_t p) const { return static_cast<unsigned char>(text_[p]); }

  uint16_t class_at(size_t p) const {
    const unsigned char b = byte(p);
    return b < 0x80 ? classes_.of_ascii(b) : classes_.of(decode_char(text_, p).value);
  }
  size_t next(size_t p) const {
    const unsigned char b = byte(p);
    return p + (b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4);
  }

  // Past the run of characters that have one of `wanted`; `limit` characters at most.
  size_t run(size_t p, uint16_t wanted, size_t limit = SIZE_MAX) const {
    for (; p < text_.size() && limit > 0 && (class_at(p) & wanted) != 0; --limit) p = next(p);
    return p;
  }
  // Past the run of characters that have none of `unwanted`.
  size_t run_without(size_t p, uint16_t unwanted) const {
    while (p < text_.size() && (class_at(p) & unwanted) == 0) p = next(p);
    return p;
  }
  // Past \s+(?!\S)|\s+ at p, which is a space: all of the run at the end of the text, else all but its last (if it has
  // two).
  size_t spaces(size_t p) const {
    size_t last = p;
    for (size_t q = p; q < text_.size(); q = next(q)) {
      if ((class_at(q) & kSpace) == 0) return last == p ? q : last;
      last = q;
    }
    return text_.size();
  }
  // Past 's|'t|'re|'ve|'m|'ll|'d at p, or p.
  size_t contraction(size_t p, Case letter_case) const {
    if (byte(p) != '\'' || p + 1 >= text_.size()) return p;
    const auto letter = [&](size_t at) -> char {
      if (at >= text_.size()) return 0;
      const char c = text_[at];
      return letter_case != Case::kExact && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    const char a = letter(p + 1);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return p + 2;
    const char b = letter(p + 2);
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return p + 3;
    if (letter_case == Case::kFolded && byte(p + 1) >= 0x80 && decode_char(text_, p + 1).value == kLongS) return p + 3;
    return p;
  }

 private:
  std::string_view text_;
  const CharClasses& classes_;
};

class Gpt2Splitter final : public Splitter {
 public:
  void split(std::string_view text, uint32_t base, std::vector<uint32_t>& ends) const override {
    const Cursor at(text);
    for (size_t p = 0; p < text.size();) {
      p = piece(at, p);
      ends.push_back(base + static_cast<uint32_t>(p));
    }
  }

 private:
  static size_t piece(const Cursor& at, size_t p) {
    if (const size_t end = at.contraction(p, Case::kExact); end != p) return end;
    const size_t q = at.byte(p) == ' ' && !at.at_end(p + 1) ? p + 1 : p;
    const uint16_t classes = at.class_at(q);
    if (classes & kLetter) return at.run(q, kLetter);
    if (classes & kNumber) return at.run(q, kNumber);
    if ((classes & kSpace) == 0) return at.run_without(q, kSpace | kLetter | kNumber);
    return at.spaces(p);
  }
};

template <bool kMarks>
class Gpt4Splitter final : public Splitter {
 public:
  Gpt4Splitter(int max_digits, bool fold_case)
      : max_digits_(static_cast<size_t>(max_digits)), case_(fold_case ? Case::kFolded : Case::kIgnored) {}

  void split(std::string_view text, uint32_t base, std::vector<uint32_t>& ends) const override {
    const Cursor at(text);
    for (size_t p = 0; p < text.size();) {
      p = piece(at, p);
      ends.push_back(base + static_cast<uint32_t>(p));
    }
  }

 private:
  static constexpr uint16_t kWordChars = kMarks ? kLetter | kMark : kLetter;

  size_t piece(const Cursor& at, size_t p) const {
    if (const size_t end = at.contraction(p, case_); end != p) return end;
    const unsigned char byte = at.byte(p);
    const uint16_t classes = at.class_at(p);
    if (classes & kWordChars) return at.run(p, kWordChars);
    if (classes & kNumber) return at.run(p, kNumber, max_digits_);
    const size_t next = at.next(p);
    if (byte != '\r' && byte != '\n' && !at.at_end(next) && (at.class_at(next) & kWordChars) != 0) {
      return at.run(next, kWordChars);
    }
    const size_t q = byte == ' ' && !at.at_end(next) ? next : p;
    constexpr uint16_t kNotPunctuation = kSpace | kWordChars | kNumber;
    if ((at.class_at(q) & kNotPunctuation) == 0) {
      size_t end = at.run_without(q, kNotPunctuation);
      while (!at.at_end(end) && (at.byte(end) == '\r' || at.byte(end) == '\n')) ++end;
      return end;
    }
    return spaces(at, p);
  }

  // \s*[\r\n]+|\s+(?!\S)|\s+
  static size_t spaces(const Cursor& at, size_t p) {
    size_t past_newline = 0;
    size_t last = p;
    size_t q = p;
    for (; !at.at_end(q) && (at.class_at(q) & kSpace) != 0; q = at.next(q)) {
      last = q;
      if (at.byte(q) == '\r' || at.byte(q) == '\n') past_newline = q + 1;
    }
    if (past_newline != 0) return past_newline;
    return at.at_end(q) || last == p ? q : last;
  }

  size_t max_digits_;
  Case case_;
};

// A run of min_run to max_run characters of some set, isolated; what lies between the runs are pieces as well.
template <typename Set>
class RunSplitter final : public Splitter {
 public:
  RunSplitter(Set set, size_t max_run, bool space_prefix, size_t min_run = 1)
      : set_(std::move(set)),
        min_run_(min_run),
        max_run_(max_run == 0 ? SIZE_MAX : max_run),
        space_prefix_(space_prefix) {}

  void split(std::string_view text, uint32_t base, std::vector<uint32_t>& ends) const override {
    const Cursor at(text);
    size_t gap = 0;
    for (size_t p = 0; p < text.size();) {
      const size_t end = match(at, text, p);
      if (end == p) {
        p = at.next(p);
        continue;
      }
      if (gap != p) ends.push_back(base + static_cast<uint32_t>(p));
      ends.push_back(base + static_cast<uint32_t>(end));
      gap = p = end;
    }
    if (gap != text.size()) ends.push_back(base + static_cast<uint32_t>(text.size()));
  }

 private:
  size_t match(const Cursor& at, std::string_view text, size_t p) const {
    if (space_prefix_ && (at.class_at(p) & kSpace) != 0) {
      const size_t end = run(at, text, at.next(p));
      if (end != at.next(p)) return end;
    }
    return run(at, text, p);
  }
  size_t run(const Cursor& at, std::string_view text, size_t p) const {
    const size_t start = p;
    size_t n = 0;
    for (; n < max_run_ && !at.at_end(p) && set_(at, text, p); ++n) p = at.next(p);
    return n < min_run_ ? start : p;
  }

  Set set_;
  size_t min_run_;
  size_t max_run_;
  bool space_prefix_;
};

struct ClassSet {
  uint16_t classes;
  bool operator()(const Cursor& at, std::string_view, size_t p) const { return (at.class_at(p) & classes) != 0; }
};

using Range = std::pair<char32_t, char32_t>;

struct RangeSet {
  std::vector<Range> ranges;  // sorted
  bool operator()(const Cursor&, std::string_view text, size_t p) const {
    const char32_t c = decode_char(text, p).value;
    auto it = std::upper_bound(ranges.begin(), ranges.end(), c, [](char32_t v, const Range& r) { return v < r.first; });
    return it != ranges.begin() && c <= (--it)->second;
  }
};

std::unique_ptr<const Splitter> make_range_splitter(std::vector<Range> ranges, size_t max_run, bool space_prefix,
                                                    size_t min_run = 1) {
  std::sort(ranges.begin(), ranges.end());
  return std::make_unique<RunSplitter<RangeSet>>(RangeSet{std::move(ranges)}, max_run, space_prefix, min_run);
}

// \s+$
class TrailingSpaceSplitter final : public Splitter {
 public:
  void split(std::string_view text, uint32_t base, std::vector<uint32_t>& ends) const override {
    const Cursor at(text);
    size_t trailing = 0;
    for (size_t p = 0; p < text.size();) {
      const bool space = (at.class_at(p) & kSpace) != 0;
      p = at.next(p);
      if (!space) trailing = p;
    }
    if (trailing != 0) ends.push_back(base + static_cast<uint32_t>(trailing));
    if (trailing != text.size()) ends.push_back(base + static_cast<uint32_t>(text.size()));
  }
};

class BertSplitter final : public Splitter {
 public:
  void split(std::string_view text, uint32_t base, std::vector<uint32_t>& ends) const override {
    const Cursor at(text);
    for (size_t p = 0; p < text.size();) {
      const uint16_t classes = at.class_at(p);
      uint32_t mark = 0;
      if (classes & kSpace) {
        p = at.run(p, kSpace);
        mark = kRemovedPiece;
      } else {
        p = classes & kDelimiter ? at.next(p) : at.run_without(p, kSpace | kDelimiter);
      }
      ends.push_back((base + static_cast<uint32_t>(p)) | mark);
    }
  }
};

class BeforeSplitter final : public Splitter {
 public:
  explicit BeforeSplitter(std::string mark) : mark_(std::move(mark)) {}

  void split(std::string_view text, uint32_t base, std::vector<uint32_t>& ends) const override {
    for (size_t p = 0; p < text.size();) {
      while (text.substr(p, mark_.size()) == mark_) p += mark_.size();  // the run that begins this piece
      p = std::min(text.find(mark_, p), text.size());
      ends.push_back(base + static_cast<uint32_t>(p));
    }
  }

 private:
  std::string mark_;
};

// The letters with case that DeepSeek-LLM's expression lists.
std::vector<Range> deepseek_letters() {
  return {{'A', 'Z'},         {'a', 'z'},         {0xB5, 0xB5},       {0xC0, 0xD6},       {0xD8, 0xF6},
          {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},     {0x295, 0x2AF},     {0x370, 0x373},
          {0x376, 0x377},     {0x37B, 0x37D},     {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},
          {0x38C, 0x38C},     {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},     {0x48A, 0x52F},
          {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},
          {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},
          {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},
          {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},
          {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},
          {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},   {0x2102, 0x2102},   {0x2107, 0x2107},
          {0x210A, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},
          {0x2128, 0x2128},   {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},
          {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2184},   {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},
          {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF3},   {0xA640, 0xA66D},   {0xA680, 0xA69B},   {0xA722, 0xA76F},
          {0xA771, 0xA787},   {0xA78B, 0xA78E},   {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},
          {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},   {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB},
          {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943}};
}

const std::vector<Range> kNewlines = {{'\n', '\n'}, {'\r', '\r'}};
// [一-龥ࠀ-一가-퟿]+ : the middle range runs from U+0800 to U+4E00.
const std::vector<Range> kDeepseekAsian = {{0x800, 0x4E00}, {0x4E00, 0x9FA5}, {0xAC00, 0xD7FF}};
// [!-/:-~！-／：-～‘-‟　-。]+
const std::vector<Range> kDeepseekPunctuation = {{'!', '/'},       {':', '~'},       {0xFF01, 0xFF0F},
                                                 {0xFF1A, 0xFF5E}, {0x2018, 0x201F}, {0x3000, 0x3002}};

using Steps = std::vector<std::unique_ptr<const Splitter>>;

template <typename... Step>
Steps steps(Step... step) {
  Steps result;
  (result.push_back(std::move(step)), ...);
  return result;
}

std::unique_ptr<const Splitter> make_digits_splitter(int max_run) {
  return make_class_splitter(kDigitsNumber, max_run, false);
}

struct NamedSteps {
  std::string_view name;
  Steps (*make)();
};

Steps digits_then_gpt2() { return steps(make_digits_splitter(1), make_gpt2_splitter()); }

Steps deepseek_llm() {
  return steps(make_range_splitter(kNewlines, 1, false), make_range_splitter(deepseek_letters(), 0, true),
               make_range_splitter(kDeepseekPunctuation, 0, true),
               std::unique_ptr<const Splitter>(std::make_unique<TrailingSpaceSplitter>()),
               make_range_splitter(kDeepseekAsian, 0, false), make_digits_splitter(1));
}

Steps deepseek_coder() {
  return steps(make_range_splitter(kNewlines, 1, false), make_class_splitter(kLetter, 0, true),
               make_class_splitter(kPunctuation, 0, true), make_range_splitter(kDeepseekAsian, 0, false),
               make_digits_splitter(1));
}

Steps falcon() {
  return steps(make_class_splitter(kDelimiter, 0, false), make_gpt2_splitter(),
               make_range_splitter({{'0', '9'}}, 3, false, 3));
}

const std::array<NamedSteps, 18>& named_steps() {
  static const std::array<NamedSteps, 18> table = {{
      {"qwen2", [] { return steps(make_gpt4_splitter(1, false)); }},
      {"deepseek-r1-qwen", [] { return steps(make_gpt4_splitter(1, false)); }},
      {"qwen35", [] { return steps(make_gpt4_splitter(1, true)); }},
      {"llama-bpe", [] { return steps(make_gpt4_splitter(3, false)); }},
      {"llama3", [] { return steps(make_gpt4_splitter(3, false)); }},
      {"llama-v3", [] { return steps(make_gpt4_splitter(3, false)); }},
      {"gpt-2", [] { return steps(make_gpt2_splitter()); }},
      {"phi-2", [] { return steps(make_gpt2_splitter()); }},
      {"smollm", digits_then_gpt2},
      {"starcoder", digits_then_gpt2},
      {"refact", digits_then_gpt2},
      {"command-r", digits_then_gpt2},
      {"codeshell", digits_then_gpt2},
      {"exaone", digits_then_gpt2},
      {"minerva-7b", digits_then_gpt2},
      {"deepseek-llm", deepseek_llm},
      {"deepseek-coder", deepseek_coder},
      {"falcon", falcon},
  }};
  return table;
}

}  // namespace

std::unique_ptr<const Splitter> make_gpt2_splitter() { return std::make_unique<Gpt2Splitter>(); }

std::unique_ptr<const Splitter> make_gpt4_splitter(int max_digits, bool with_marks, bool fold_case) {
  if (with_marks) return std::make_unique<Gpt4Splitter<true>>(max_digits, fold_case);
  return std::make_unique<Gpt4Splitter<false>>(max_digits, fold_case);
}

std::unique_ptr<const Splitter> make_class_splitter(uint16_t classes, int max_run, bool space_prefix) {
  return std::make_unique<RunSplitter<ClassSet>>(ClassSet{classes}, static_cast<size_t>(max_run), space_prefix);
}

std::unique_ptr<const Splitter> make_bert_splitter() { return std::make_unique<BertSplitter>(); }

std::unique_ptr<const Splitter> make_before_splitter(std::string mark) {
  return std::make_unique<BeforeSplitter>(std::move(mark));
}

std::vector<std::unique_ptr<const Splitter>> splitters_by_name(std::string_view name) {
  for (const NamedSteps& known : named_steps()) {
    if (known.name == name) return known.make();
  }
  return {};
}

std::string known_splitter_names() {
  std::string names;
  for (const NamedSteps& known : named_steps()) {
    if (!names.empty()) names += ", ";
    names += known.name;
  }
  return names;
}

}  // namespace carronade
