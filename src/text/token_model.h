// The last step of a tokenizer: pieces of text to token ids.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "text/bpe.h"
#include "text/pipeline.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace carronade {

// What one call of encode() works with; nothing of it outlives the call.
struct EncodeSession {
  explicit EncodeSession(size_t text_bytes) : cache(text_bytes) {}

  WordCache cache;
  std::vector<uint32_t> ends, ends_before;
  std::vector<TokenId> symbols;
  std::string text;
};

// Immutable once made, so any thread may use it.
class TokenModel {
 public:
  virtual ~TokenModel() = default;

  // Appends the tokens of the pieces of `text` that end at `ends`.
  virtual void encode(std::string_view text, const std::vector<uint32_t>& ends, EncodeSession& session,
                      std::vector<TokenId>& out) const = 0;
};

// Both read what they need from `data` and keep no reference to it. Throw Error{kCorruptFile} for data that contradict
// themselves.
std::unique_ptr<const TokenModel> make_bpe_model(const TokenizerData& data, const TokenizerPipeline& pipeline);
std::unique_ptr<const TokenModel> make_wordpiece_model(const TokenizerData& data, const TokenizerPipeline& pipeline);

}  // namespace carronade
