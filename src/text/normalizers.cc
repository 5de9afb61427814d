#include "text/normalizers.h"

#include <string_view>
#include <utility>

#include "text/unicode.h"

namespace carronade {

namespace {

// A normalizer that is a function of the text alone.
template <typename Function>
class FunctionNormalizer final : public Normalizer {
 public:
  explicit FunctionNormalizer(Function function) : function_(std::move(function)) {}
  std::string_view apply(std::string_view text, bool, std::string& buffer) const override {
    return function_(text, buffer);
  }

 private:
  Function function_;
};

template <typename Function>
std::unique_ptr<const Normalizer> from_function(Function function) {
  return std::make_unique<FunctionNormalizer<Function>>(std::move(function));
}

// Drops the characters of `classes`.
std::string_view without(std::string_view text, uint16_t classes, std::string& buffer) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const DecodedChar c = decode_char(text, i);
    if ((CharClasses::instance().of(c.value) & classes) == 0) result.append(text, i, c.length);
    i += c.length;
  }
  buffer = std::move(result);
  return buffer;
}

class PrependNormalizer final : public Normalizer {
 public:
  PrependNormalizer(std::string prefix, bool only_first, bool unless_there)
      : prefix_(std::move(prefix)), only_first_(only_first), unless_there_(unless_there) {}

  std::string_view apply(std::string_view text, bool first, std::string& buffer) const override {
    if (text.empty() || (only_first_ && !first) || (unless_there_ && text.starts_with(prefix_))) return text;
    std::string result = prefix_;
    result.append(text);
    buffer = std::move(result);
    return buffer;
  }

 private:
  std::string prefix_;
  bool only_first_, unless_there_;
};

// The ranges of the BERT authors' own code, one wrong boundary of the library included (U+2B920).
bool is_chinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

class BertNormalizer final : public Normalizer {
 public:
  explicit BertNormalizer(const BertNormalizerOptions& options) : options_(options) {}

  std::string_view apply(std::string_view text, bool, std::string& buffer) const override {
    if (options_.clean_text || options_.handle_chinese_chars) text = clean(text, buffer);
    if (options_.strip_accents) text = without(to_nfd(text, buffer), kBertAccent, buffer);
    if (options_.lowercase) text = to_lower(text, buffer);
    return text;
  }

 private:
  std::string_view clean(std::string_view text, std::string& buffer) const {
    std::string result;
    result.reserve(text.size() + 16);
    for (size_t i = 0; i < text.size();) {
      const DecodedChar c = decode_char(text, i);
      const uint16_t classes = CharClasses::instance().of(c.value);
      if (options_.clean_text && (classes & (kBertControl | kBertSpace)) != 0) {
        if (classes & kBertSpace) result.push_back(' ');
      } else if (options_.handle_chinese_chars && is_chinese(c.value)) {
        result.push_back(' ');
        result.append(text, i, c.length);
        result.push_back(' ');
      } else {
        result.append(text, i, c.length);
      }
      i += c.length;
    }
    buffer = std::move(result);
    return buffer;
  }

  BertNormalizerOptions options_;
};

}  // namespace

std::unique_ptr<const Normalizer> make_nfc_normalizer() { return from_function(to_nfc); }
std::unique_ptr<const Normalizer> make_nfd_normalizer() { return from_function(to_nfd); }
std::unique_ptr<const Normalizer> make_lowercase_normalizer() { return from_function(to_lower); }

std::unique_ptr<const Normalizer> make_strip_accents_normalizer() {
  return from_function([](std::string_view text, std::string& buffer) { return without(text, kAccent, buffer); });
}

std::unique_ptr<const Normalizer> make_prepend_normalizer(std::string prefix, bool only_first, bool unless_there) {
  return std::make_unique<PrependNormalizer>(std::move(prefix), only_first, unless_there);
}

std::unique_ptr<const Normalizer> make_replace_normalizer(std::string from, std::string to) {
  return from_function([from = std::move(from), to = std::move(to)](std::string_view text, std::string& buffer) {
    size_t at = text.find(from);
    if (at == std::string_view::npos) return text;
    std::string result;
    result.reserve(text.size() + text.size() / 2);
    size_t done = 0;
    for (; at != std::string_view::npos; at = text.find(from, done)) {
      result.append(text, done, at - done).append(to);
      done = at + from.size();
    }
    result.append(text, done);
    buffer = std::move(result);
    return std::string_view(buffer);
  });
}

std::unique_ptr<const Normalizer> make_strip_normalizer(bool left, bool right) {
  return from_function([left, right](std::string_view text, std::string&) {
    const CharClasses& classes = CharClasses::instance();
    while (left && !text.empty() && (classes.of(decode_char(text, 0).value) & kSpace) != 0) {
      text.remove_prefix(decode_char(text, 0).length);
    }
    while (right && !text.empty()) {
      size_t last = text.size() - 1;
      while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
      if ((classes.of(decode_char(text, last).value) & kSpace) == 0) break;
      text = text.substr(0, last);
    }
    return text;
  });
}

std::unique_ptr<const Normalizer> make_bert_normalizer(const BertNormalizerOptions& options) {
  return std::make_unique<BertNormalizer>(options);
}

}  // namespace carronade
