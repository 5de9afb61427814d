// Splitters made from a tokenizer.json's own words: regular expressions, and what becomes of their matches.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/splitter.h"
#include "text/unicode.h"

namespace carronade {

namespace {

constexpr uint32_t kMatchLimit =
    10'000'000;  // steps of backtracking: a pattern from a stranger's file cannot hang the program

struct FreeCode {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

class RegexSplitter final : public Splitter {
 public:
  RegexSplitter(const std::string& regex, SplitBehavior behavior, bool invert) : behavior_(behavior), invert_(invert) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    // The library's engine reads ^ and $ as the borders of lines.
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(regex.data()), regex.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                              nullptr));
    if (!code_) {
      throw_error(ErrorCode::kUnsupported,
                  "the tokenizer splits text by an expression that cannot be used, at character {}: {}: {}", offset,
                  error_text(error), regex);
    }
    pcre2_jit_compile(code_.get(),
                      PCRE2_JIT_COMPLETE);  // without a compiler for this processor matching is slower, not wrong
    context_.reset(pcre2_match_context_create(nullptr));
    if (!context_) throw std::bad_alloc();
    pcre2_set_match_limit(context_.get(), kMatchLimit);
  }

  void split(std::string_view text, uint32_t base, std::vector<uint32_t>& ends) const override {
    std::vector<std::pair<uint32_t, uint32_t>> matches;
    const std::unique_ptr<pcre2_match_data, FreeMatch> data(pcre2_match_data_create(1, nullptr));
    if (!data) throw std::bad_alloc();
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    for (size_t at = 0; at < text.size();) {
      const int result =
          pcre2_match(code_.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK, data.get(), context_.get());
      if (result == PCRE2_ERROR_NOMATCH) break;
      if (result < 0)
        throw_error(ErrorCode::kTooLarge, "the tokenizer's expression takes too long on this text: {}",
                    error_text(result));
      const PCRE2_SIZE* found = pcre2_get_ovector_pointer(data.get());
      if (found[1] > found[0]) {
        matches.emplace_back(static_cast<uint32_t>(found[0]), static_cast<uint32_t>(found[1]));
        at = found[1];
      } else {
        if (found[1] >= text.size()) break;
        at = found[1] + decode_char(text, found[1]).length;
      }
    }
    append_pieces(matches, static_cast<uint32_t>(text.size()), behavior_, invert_, base, ends);
  }

 private:
  std::unique_ptr<pcre2_code, FreeCode> code_;
  std::unique_ptr<pcre2_match_context, FreeMatchContext> context_;
  SplitBehavior behavior_;
  bool invert_;
};

class StringSplitter final : public Splitter {
 public:
  StringSplitter(std::string pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void split(std::string_view text, uint32_t base, std::vector<uint32_t>& ends) const override {
    std::vector<std::pair<uint32_t, uint32_t>> matches;
    for (size_t at = text.find(pattern_); at != std::string_view::npos;
         at = text.find(pattern_, at + pattern_.size())) {
      matches.emplace_back(static_cast<uint32_t>(at), static_cast<uint32_t>(at + pattern_.size()));
    }
    append_pieces(matches, static_cast<uint32_t>(text.size()), behavior_, invert_, base, ends);
  }

 private:
  std::string pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class CharacterSplitter final : public Splitter {
 public:
  CharacterSplitter(uint16_t classes, SplitBehavior behavior) : classes_(classes), behavior_(behavior) {}

  void split(std::string_view text, uint32_t base, std::vector<uint32_t>& ends) const override {
    std::vector<std::pair<uint32_t, uint32_t>> matches;
    for (size_t at = 0; at < text.size();) {
      const DecodedChar c = decode_char(text, at);
      const size_t end = at + c.length;
      if (CharClasses::instance().of(c.value) & classes_) {
        matches.emplace_back(static_cast<uint32_t>(at), static_cast<uint32_t>(end));
      }
      at = end;
    }
    append_pieces(matches, static_cast<uint32_t>(text.size()), behavior_, false, base, ends);
  }

 private:
  uint16_t classes_;
  SplitBehavior behavior_;
};

struct Part {
  uint32_t start, end;
  bool match;
};

// A match joins what stands before it in the order given, unless that is a match as well.
void merge_matches(std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.match && !previous && !merged.empty()) {
      merged.back().start = std::min(merged.back().start, part.start);
      merged.back().end = std::max(merged.back().end, part.end);
    } else {
      merged.push_back(part);
    }
    previous = part.match;
  }
  parts = std::move(merged);
}

void merge_equal(std::vector<Part>& parts) {
  std::vector<Part> merged;
  for (const Part& part : parts) {
    if (!merged.empty() && merged.back().match == part.match) {
      merged.back().end = part.end;
    } else {
      merged.push_back(part);
    }
  }
  parts = std::move(merged);
}

}  // namespace

void append_pieces(const std::vector<std::pair<uint32_t, uint32_t>>& matches, uint32_t size, SplitBehavior behavior,
                   bool invert, uint32_t base, std::vector<uint32_t>& ends) {
  std::vector<Part> parts;
  parts.reserve(matches.size() * 2 + 1);
  uint32_t done = 0;
  for (const auto& [start, end] : matches) {
    if (start > done) parts.push_back({done, start, invert});
    parts.push_back({start, end, !invert});
    done = end;
  }
  if (done < size) parts.push_back({done, size, invert});
  if (behavior == SplitBehavior::kMergedWithPrevious) merge_matches(parts);
  if (behavior == SplitBehavior::kContiguous) merge_equal(parts);
  if (behavior == SplitBehavior::kMergedWithNext) {
    std::reverse(parts.begin(), parts.end());
    merge_matches(parts);
    std::reverse(parts.begin(), parts.end());
  }
  for (const Part& part : parts) {
    const bool removed = behavior == SplitBehavior::kRemoved && part.match;
    ends.push_back((base + part.end) | (removed ? kRemovedPiece : 0));
  }
}

std::unique_ptr<const Splitter> make_regex_splitter(const std::string& regex, SplitBehavior behavior, bool invert) {
  return std::make_unique<RegexSplitter>(regex, behavior, invert);
}

std::unique_ptr<const Splitter> make_string_splitter(std::string pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<StringSplitter>(std::move(pattern), behavior, invert);
}

std::unique_ptr<const Splitter> make_character_splitter(uint16_t classes, SplitBehavior behavior) {
  return std::make_unique<CharacterSplitter>(classes, behavior);
}

std::unique_ptr<const Splitter> splitter_by_regex(std::string_view regex) {
  // The two spellings of the contractions that files have.
  constexpr std::string_view kFolded = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  constexpr std::string_view kSpelledOut = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
  if (regex == R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)")
    return make_gpt2_splitter();
  if (regex == R"(\p{N})") return make_class_splitter(kNumber, 1, false);
  if (regex == R"(\p{N}+)") return make_class_splitter(kNumber, 0, false);
  if (regex == R"(\p{N}{1,3})") return make_class_splitter(kNumber, 3, false);
  const bool folded = regex.starts_with(kFolded);
  if (!folded && !regex.starts_with(kSpelledOut)) return nullptr;
  regex.remove_prefix(folded ? kFolded.size() : kSpelledOut.size());
  constexpr std::string_view kEnd = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  constexpr std::string_view kMarksEnd = R"(| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const auto is = [&](std::string_view start, std::string_view end) {
    return regex.size() == start.size() + end.size() && regex.starts_with(start) && regex.ends_with(end);
  };
  if (is(R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})", kEnd)) return make_gpt4_splitter(1, false, folded);
  if (is(R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})", kEnd)) return make_gpt4_splitter(3, false, folded);
  if (is(R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N})", kMarksEnd)) return make_gpt4_splitter(1, true, folded);
  return nullptr;
}

}  // namespace carronade
