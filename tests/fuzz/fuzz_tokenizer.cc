// Any text through tokenizers of every kind, and any bytes as the description of one.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/testing.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace {

using namespace carronade;

void expect(bool condition) {
  if (!condition) std::abort();
}

using Tokenizers = std::vector<std::unique_ptr<const Tokenizer>>;

Tokenizers make_tokenizers() {
  const std::vector<std::string> merges = {"h e", "l l",   "he ll", "hell o", "Ġ Ġ", "ĠĠ ĠĠ",
                                           "a a", "aa aa", "Ã ©",   "Ċ Ċ",    "' s", "1 2"};
  Tokenizers made;
  // The first four change no text: what they give back is what they got.
  for (const char* pre :
       {"gpt-2", "smollm", "llama-bpe", "deepseek-llm", "qwen2", "qwen35", "deepseek-coder", "falcon"}) {
    made.push_back(Tokenizer::create(tiny_byte_level(pre, merges)));
  }
  made.push_back(Tokenizer::create(
      tiny_sentence_piece({"\u2581a", "\u2581", "a", "ab", "b", "aa", "\u2581\u2581", "\u00E9", "<", "/", "s", ">"})));
  made.push_back(Tokenizer::create(tiny_word_piece({"\u2581a", "b", "\u2581,", "\u2581cafe", "aa", "\u2581\u4F60"})));
  return made;
}

void check_text(const Tokenizer& tokenizer, std::string_view text, bool exact) {
  for (const bool parse_special : {false, true}) {
    const auto ids = tokenizer.encode(text, {.add_special = false, .parse_special = parse_special});
    std::string back;
    for (const TokenId id : ids) {
      expect(id >= 0 && id < tokenizer.vocabulary_size());
      expect(parse_special || tokenizer.data().types[static_cast<size_t>(id)] != TokenType::kControl ||
             tokenizer.data().model == "bert");  // its [UNK]
      back += tokenizer.token_bytes(id);
    }
    if (exact) expect(back == replace_invalid_utf8(text));
  }
}

// Contradictions and all: an Error, or a tokenizer that works.
void check_description(std::string_view bytes) {
  const auto next = [&]() -> uint8_t {
    if (bytes.empty()) return 0;
    const auto value = static_cast<uint8_t>(bytes[0]);
    bytes.remove_prefix(1);
    return value;
  };
  const auto string = [&] {
    const size_t wanted = next() % 8, length = std::min(wanted, bytes.size());
    std::string text(bytes.substr(0, length));
    bytes.remove_prefix(length);
    return text;
  };
  constexpr std::array<const char*, 4> kModels = {"gpt2", "llama", "bert", "other"};
  constexpr std::array<const char*, 4> kPres = {"qwen2", "smollm", "llama-bpe", ""};
  TokenizerData data;
  data.model = kModels[next() % 4];
  data.pre = kPres[next() % 4];
  for (size_t n = next() % 64; n > 0; --n) {
    data.tokens.push_back(string());
    data.types.push_back(static_cast<TokenType>(next() % 8));
    data.scores.push_back(static_cast<float>(next()));
  }
  for (size_t n = next() % 32; n > 0; --n) data.merges.push_back(string() + " " + string());
  data.bos = next() % 16 - 2;
  data.unknown = next() % 16 - 2;
  data.add_bos = true;
  const auto tokenizer = Tokenizer::create(data);
  for (const TokenId id : tokenizer->encode(bytes, {.add_special = true, .parse_special = true})) {
    expect(id >= 0 && id < tokenizer->vocabulary_size());
  }
}

void check_json(std::string_view json) {
  const auto tokenizer = Tokenizer::create(tokenizer_data_from_json(json));
  for (const std::string_view text : {std::string_view("a B  1\n\u00E9\u4F60<s>!"), json.substr(0, 200)}) {
    for (const TokenId id : tokenizer->encode(text, {.add_special = true, .parse_special = true})) {
      expect(id >= 0 && id < tokenizer->vocabulary_size());
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Tokenizers tokenizers = make_tokenizers();
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t which = data[0] == '{' ? tokenizers.size() + 1 : data[0] % (tokenizers.size() + 1);
  try {
    if (which < tokenizers.size()) {
      check_text(*tokenizers[which], text, which < 4);
    } else if (which == tokenizers.size()) {
      check_description(text);
    } else {
      check_json({reinterpret_cast<const char*>(data), size});
    }
  } catch (const Error&) {
    expect(which >= tokenizers.size());  // no text is refused
  }
  return 0;
}
