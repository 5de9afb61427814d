// tokenizer.json of the `tokenizers` library. Source: that library's documentation of its components, and its
// behaviour.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/error.h"
#include "text/normalizers.h"
#include "text/pipeline.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace carronade {

namespace {

using Json = nlohmann::json;

[[noreturn]] void unsupported(std::string_view what, const std::string& name) {
  throw_error(ErrorCode::kUnsupported, "tokenizer.json has a {} named '{}', which is not known here", what, name);
}

std::string type_of(const Json& step) { return step.at("type").get<std::string>(); }

// Calls `each` for a step, or for the steps of a Sequence. JSON is nested at most as deep as the parser allowed.
template <typename Function>
void for_each_step(const Json& step, const char* list, Function each) {
  if (step.is_null()) return;
  if (type_of(step) != "Sequence") {
    each(step);
    return;
  }
  for (const Json& inner : step.at(list)) for_each_step(inner, list, each);
}

class Builder {
 public:
  Builder(const Json& json, const Json& config) : json_(json), config_(config) {}

  TokenizerData build() {
    const Json& model = json_.at("model");
    read_model(model);
    read_added_tokens();
    read_normalizers();
    read_pre_tokenizers();
    read_special_tokens();
    if (pipeline_.model == TokenizerPipeline::Model::kCharBpe && pipeline_.splitters.empty() &&
        !pipeline_.ignore_merges) {
      split_at_words_where_safe(data_, pipeline_);
    }
    data_.pipeline = std::make_shared<const TokenizerPipeline>(std::move(pipeline_));
    return std::move(data_);
  }

 private:
  void read_model(const Json& model) {
    const std::string type = model.value("type", model.contains("merges") ? "BPE" : "WordPiece");
    if (type == "BPE") {
      read_bpe(model);
    } else if (type == "WordPiece") {
      pipeline_.model = TokenizerPipeline::Model::kWordPiece;
      pipeline_.continuation = model.value("continuing_subword_prefix", "##");
      pipeline_.max_word_characters = model.value("max_input_chars_per_word", size_t{100});
      data_.model = "bert";
    } else {
      unsupported("model", type);
    }
    read_vocabulary(model.at("vocab"));
    const Json& unknown = optional(model, "unk_token");
    if (unknown.is_string()) pipeline_.unknown = data_.unknown = id_of(unknown.get<std::string>());
  }

  void read_bpe(const Json& model) {
    pipeline_.model = is_byte_level() ? TokenizerPipeline::Model::kByteLevelBpe : TokenizerPipeline::Model::kCharBpe;
    data_.model = is_byte_level() ? "gpt2" : "llama";
    pipeline_.ignore_merges = flag(model, "ignore_merges");
    pipeline_.byte_fallback = flag(model, "byte_fallback");
    pipeline_.fuse_unknown = flag(model, "fuse_unk");
    for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json& value = optional(model, affix);
      if (value.is_string() && !value.get_ref<const std::string&>().empty()) unsupported("model option", affix);
    }
    for (const Json& merge : model.at("merges")) {
      data_.merges.push_back(merge.is_string() ? merge.get<std::string>()
                                               : merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>());
    }
  }

  void read_vocabulary(const Json& vocab) {
    for (const auto& [text, id] : vocab.items()) place(text, id.get<int64_t>(), TokenType::kNormal);
    if (pipeline_.byte_fallback) {
      for (size_t i = 0; i < data_.tokens.size(); ++i) {
        if (byte_of_spelling(data_.tokens[i]) >= 0) data_.types[i] = TokenType::kByte;
      }
    }
  }

  // Puts a token at its id; ids that no token has are left unused.
  void place(const std::string& text, int64_t id, TokenType type) {
    constexpr int64_t kMaxTokens = 1 << 24;
    if (id < 0 || id >= kMaxTokens)
      throw_error(ErrorCode::kCorruptFile, "tokenizer.json gives the id {} to a token", id);
    const auto i = static_cast<size_t>(id);
    if (i >= data_.tokens.size()) {
      data_.tokens.resize(i + 1);
      data_.types.resize(i + 1, TokenType::kUnused);
    }
    data_.tokens[i] = text;
    data_.types[i] = type;
  }

  void read_added_tokens() {
    for (const Json& token : optional(json_, "added_tokens")) {
      AddedToken added{.content = token.at("content").get<std::string>(), .id = token.at("id").get<TokenId>()};
      added.special = flag(token, "special");
      added.single_word = flag(token, "single_word");
      added.left_strip = flag(token, "lstrip");
      added.right_strip = flag(token, "rstrip");
      added.normalized = flag(token, "normalized");
      place(added.content, added.id, added.special ? TokenType::kControl : TokenType::kUserDefined);
      pipeline_.added.push_back(std::move(added));
    }
  }

  void read_normalizers() {
    for_each_step(optional(json_, "normalizer"), "normalizers", [this](const Json& step) { add_normalizer(step); });
  }

  void add_normalizer(const Json& step) {
    auto& list = pipeline_.normalizers;
    const std::string type = type_of(step);
    if (type == "NFC") {
      list.push_back(make_nfc_normalizer());
    } else if (type == "NFD") {
      list.push_back(make_nfd_normalizer());
    } else if (type == "Lowercase") {
      list.push_back(make_lowercase_normalizer());
    } else if (type == "StripAccents") {
      list.push_back(make_strip_accents_normalizer());
    } else if (type == "Strip") {
      list.push_back(make_strip_normalizer(flag(step, "strip_left"), flag(step, "strip_right")));
    } else if (type == "Prepend") {
      list.push_back(make_prepend_normalizer(step.at("prepend").get<std::string>(), false, false));
    } else if (type == "Replace") {
      const Json& pattern = step.at("pattern");
      const std::string from = pattern.contains("String") ? pattern.at("String").get<std::string>() : std::string();
      if (from.empty()) unsupported("normalizer", "Replace by a regular expression");
      list.push_back(make_replace_normalizer(from, step.at("content").get<std::string>()));
    } else if (type == "BertNormalizer") {
      BertNormalizerOptions options;
      options.clean_text = flag(step, "clean_text");
      options.handle_chinese_chars = flag(step, "handle_chinese_chars");
      options.lowercase = flag(step, "lowercase");
      options.strip_accents =
          optional(step, "strip_accents").is_null() ? options.lowercase : flag(step, "strip_accents");
      list.push_back(make_bert_normalizer(options));
    } else {
      unsupported("normalizer", type);
    }
  }

  void read_pre_tokenizers() {
    for_each_step(optional(json_, "pre_tokenizer"), "pretokenizers", [this](const Json& step) {
      const std::string type = type_of(step);
      // Behind the byte-level step the library's texts are spelled in its characters for bytes; only plain digits read
      // the same there.
      if (behind_bytes_ && !(type == "Split" && optional(step.at("pattern"), "Regex") == "[0-9][0-9][0-9]")) {
        unsupported("pre-tokenizer behind ByteLevel", type);
      }
      add_pre_tokenizer(step, type);
    });
  }

  void add_pre_tokenizer(const Json& step, const std::string& type) {
    auto& list = pipeline_.splitters;
    if (type == "ByteLevel") {
      if (flag(step, "add_prefix_space", true)) prepend_by_step(type, " ", false);
      if (flag(step, "use_regex", true)) list.push_back(make_gpt2_splitter());
      behind_bytes_ = true;
    } else if (type == "Split") {
      add_split(step);
    } else if (type == "Digits") {
      list.push_back(make_class_splitter(kDigitsNumber, flag(step, "individual_digits") ? 1 : 0, false));
    } else if (type == "Punctuation") {
      list.push_back(make_character_splitter(kDelimiter, behavior_of(step.value("behavior", "Isolated"))));
    } else if (type == "Metaspace") {
      add_metaspace(step, type);
    } else if (type == "WhitespaceSplit") {
      list.push_back(make_character_splitter(kSpace, SplitBehavior::kRemoved));
    } else if (type == "Whitespace") {
      list.push_back(make_regex_splitter(R"(\w+|[^\w\s]+)", SplitBehavior::kRemoved, true));
    } else if (type == "BertPreTokenizer") {
      list.push_back(make_bert_splitter());
    } else {
      unsupported("pre-tokenizer", type);
    }
  }

  void add_split(const Json& step) {
    const SplitBehavior behavior = behavior_of(step.at("behavior").get<std::string>());
    const bool invert = flag(step, "invert");
    const Json& pattern = step.at("pattern");
    auto& list = pipeline_.splitters;
    if (const Json& text = optional(pattern, "String"); text.is_string()) {
      if (text.get_ref<const std::string&>().empty()) unsupported("pre-tokenizer", "Split by an empty string");
      list.push_back(make_string_splitter(text.get<std::string>(), behavior, invert));
      return;
    }
    const std::string regex = pattern.at("Regex").get<std::string>();
    std::unique_ptr<const Splitter> known;
    // An expression that matches everything says the same with what lies between its matches removed.
    if (behavior == SplitBehavior::kIsolated && !invert) known = splitter_by_regex(regex);
    list.push_back(known ? std::move(known) : make_regex_splitter(regex, behavior, invert));
  }

  void add_metaspace(const Json& step, const std::string& type) {
    const std::string mark = step.value("replacement", "\xE2\x96\x81");
    const bool prefix = flag(step, "add_prefix_space", true);
    const std::string scheme = step.value("prepend_scheme", prefix ? "always" : "never");
    if (!pipeline_.splitters.empty()) unsupported("pre-tokenizer behind others", type);
    pipeline_.normalizers.push_back(make_replace_normalizer(" ", mark));
    if (scheme != "never") prepend_by_step(type, mark, scheme == "first");
    if (flag(step, "split", true)) {
      pipeline_.splitters.push_back(make_string_splitter(mark, SplitBehavior::kMergedWithNext, false));
    }
  }

  void prepend_by_step(const std::string& type, const std::string& text, bool only_first) {
    if (!pipeline_.splitters.empty()) unsupported("pre-tokenizer with a prefix behind others", type);
    pipeline_.normalizers.push_back(make_prepend_normalizer(text, only_first, true));
  }

  static SplitBehavior behavior_of(const std::string& name) {
    if (name == "Removed") return SplitBehavior::kRemoved;
    if (name == "Isolated") return SplitBehavior::kIsolated;
    if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
    if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
    if (name == "Contiguous") return SplitBehavior::kContiguous;
    unsupported("split behavior", name);
  }

  void read_special_tokens() {
    for_each_step(optional(json_, "post_processor"), "processors",
                  [this](const Json& step) { read_post_processor(step); });
    data_.bos = configured("bos_token", pipeline_.prefix.empty() ? -1 : pipeline_.prefix.front());
    data_.eos = configured("eos_token", pipeline_.suffix.empty() ? -1 : pipeline_.suffix.back());
    data_.padding = configured("pad_token", -1);
    const Json& add_bos = optional(config_, "add_bos_token");
    if (add_bos.is_boolean() && data_.bos >= 0 && data_.model != "bert") {
      if (add_bos.get<bool>()) {
        pipeline_.prefix = {data_.bos};
      } else {
        pipeline_.prefix.clear();
      }
    }
    data_.add_bos = !pipeline_.prefix.empty();
    data_.add_eos = !pipeline_.suffix.empty();
  }

  void read_post_processor(const Json& step) {
    const std::string type = type_of(step);
    if (type == "TemplateProcessing") {
      bool behind = false;
      for (const Json& piece : step.at("single")) {
        if (piece.contains("Sequence")) {
          behind = true;
          continue;
        }
        const auto& name = piece.at("SpecialToken").at("id").get_ref<const std::string&>();
        for (const Json& id : step.at("special_tokens").at(name).at("ids")) {
          (behind ? pipeline_.suffix : pipeline_.prefix).push_back(checked(id.get<TokenId>()));
        }
      }
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      pipeline_.prefix.push_back(checked(step.at("cls").at(1).get<TokenId>()));
      pipeline_.suffix.push_back(checked(step.at("sep").at(1).get<TokenId>()));
    } else if (type != "ByteLevel") {
      unsupported("post-processor", type);
    }
  }

  TokenId configured(const char* name, TokenId otherwise) const {
    const Json& value = optional(config_, name);
    if (value.is_string()) return id_of(value.get<std::string>());
    const Json& content = optional(value, "content");
    return content.is_string() ? id_of(content.get<std::string>()) : otherwise;
  }

  TokenId id_of(const std::string& text) const {
    for (const AddedToken& token : pipeline_.added) {
      if (token.content == text) return token.id;
    }
    const auto it = std::find(data_.tokens.begin(), data_.tokens.end(), text);
    return it == data_.tokens.end() ? -1 : static_cast<TokenId>(it - data_.tokens.begin());
  }

  TokenId checked(TokenId id) const {
    if (id < 0 || static_cast<size_t>(id) >= data_.tokens.size()) {
      throw_error(ErrorCode::kCorruptFile, "tokenizer.json puts the token {} around texts, but has {} tokens", id,
                  data_.tokens.size());
    }
    return id;
  }

  bool is_byte_level() const {
    bool found = false;
    for_each_step(optional(json_, "pre_tokenizer"), "pretokenizers",
                  [&](const Json& step) { found = found || type_of(step) == "ByteLevel"; });
    return found;
  }

  static bool flag(const Json& object, const char* name, bool otherwise = false) {
    const Json& value = optional(object, name);
    return value.is_boolean() ? value.get<bool>() : otherwise;
  }

  static const Json& optional(const Json& object, const char* name) {
    static const Json null;
    if (!object.is_object()) return null;
    const auto it = object.find(name);
    return it == object.end() ? null : *it;
  }

  const Json& json_;
  const Json& config_;
  TokenizerData data_;
  TokenizerPipeline pipeline_;
  bool behind_bytes_ = false;
};

}  // namespace

TokenizerData tokenizer_data_from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  try {
    const Json json = Json::parse(tokenizer_json);
    const Json config = tokenizer_config_json.empty() ? Json() : Json::parse(tokenizer_config_json);
    return Builder(json, config).build();
  } catch (const Json::exception& error) {
    throw_error(ErrorCode::kCorruptFile, "this is not a tokenizer.json of the tokenizers library: {}", error.what());
  }
}

}  // namespace carronade
