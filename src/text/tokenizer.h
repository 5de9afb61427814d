// Text to token ids and back, equal to the original tokenizers token for token.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace carronade {

using TokenId = int32_t;

struct TokenizerPipeline;  // pipeline.h

// How a checkpoint describes its tokenizer, whatever its file format. Values of TokenType are GGUF's
// (`tokenizer.ggml.token_type`).
enum class TokenType : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct TokenizerData {
  std::string model;  // `gpt2` byte-level BPE · `llama` SentencePiece BPE with byte fallback · `bert` WordPiece
  std::string pre;    // pre-tokenizer of a byte-level BPE: `qwen2`, `smollm`, `deepseek-r1-qwen`, …
  std::vector<std::string> tokens;                         // [vocabulary], as the file spells them
  std::vector<TokenType> types;                            // [vocabulary], or empty: all normal
  std::vector<float> scores;                               // [vocabulary], or empty (SentencePiece only)
  std::vector<std::string> merges;                         // "left right", best first
  TokenId bos = -1, eos = -1, unknown = -1, padding = -1;  // -1: the model has none
  bool add_bos = false, add_eos = false;
  bool add_space_prefix = true;  // SentencePiece: a text starts as if a space stood before it
  bool lowercase = true;         // WordPiece: capitals and accents do not count

  // From tokenizer.json: what it says beyond the lists above, and then `pre` and the flags are not looked at. Null:
  // `model` and `pre` say it.
  std::shared_ptr<const TokenizerPipeline> pipeline;
};

// Reads a `tokenizer.json` of the `tokenizers` library (and what `tokenizer_config.json` adds to it: begin and end
// tokens). Throws Error{kCorruptFile} for what is not such a file, Error{kUnsupported} for a step that is not known
// here, by its name.
TokenizerData tokenizer_data_from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json = {});

struct EncodeOptions {
  bool add_special = false;    // put the model's begin (and end) token around, where its files say so
  bool parse_special = false;  // read "<|im_end|>" in the text as that control token; otherwise it is ordinary text
};

// Immutable once made, so any thread may use it.
class Tokenizer {
 public:
  // Throws Error{kUnsupported} for an unknown kind of tokenizer (named, with what is known), Error{kCorruptFile} for
  // data that contradict themselves (a merge of unknown tokens, an id out of range, …).
  static std::unique_ptr<const Tokenizer> create(TokenizerData data);

  virtual ~Tokenizer() = default;

  // Any bytes are accepted; invalid UTF-8 becomes the tokens that the original tokenizer would give.
  virtual std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;

  // The bytes a token stands for; possibly a part of a character. Special tokens give their spelling ("<|im_end|>"). An
  // id outside of the vocabulary gives nothing. The view lives as long as the tokenizer.
  virtual std::string_view token_bytes(TokenId id) const = 0;

  // A control or other special token: shown to a reader only when asked for.
  virtual bool is_special(TokenId id) const = 0;

  // The special token of this spelling, or -1.
  virtual TokenId special_token(std::string_view spelling) const = 0;

  virtual int vocabulary_size() const = 0;

  // The description it was made from; its lists of tokens and merges may have been emptied.
  virtual const TokenizerData& data() const = 0;
};

}  // namespace carronade
