#include "text/pipeline.h"

#include <utility>

#include "base/error.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace carronade {

namespace {

class NfcNormalizer final : public Normalizer {
 public:
  std::string_view apply(std::string_view text, bool, std::string& buffer) const override {
    return to_nfc(text, buffer);
  }
};

std::vector<AddedToken> added_tokens(const TokenizerData& data) {
  std::vector<AddedToken> added;
  for (size_t i = 0; i < data.types.size(); ++i) {
    const TokenType type = data.types[i];
    const bool special = type == TokenType::kControl || type == TokenType::kUnknown;
    if (!special && type != TokenType::kUserDefined) continue;
    added.push_back({.content = data.tokens[i], .id = static_cast<TokenId>(i), .special = special});
  }
  return added;
}

void byte_level(const TokenizerData& data, TokenizerPipeline& pipeline) {
  pipeline.model = TokenizerPipeline::Model::kByteLevelBpe;
  pipeline.splitters = splitters_by_name(data.pre);
  if (pipeline.splitters.empty()) {
    throw_error(ErrorCode::kUnsupported,
                "the tokenizer splits text in a way named '{}', which is not known here; known are {}", data.pre,
                known_splitter_names());
  }
  for (const std::string_view name : {"qwen2", "deepseek-r1-qwen", "command-r"}) {
    if (data.pre == name) pipeline.normalizers.push_back(make_nfc_normalizer());
  }
  for (const std::string_view name : {"llama-bpe", "llama3", "llama-v3"}) {
    if (data.pre == name) pipeline.ignore_merges = true;
  }
}

}  // namespace

std::unique_ptr<const Normalizer> make_nfc_normalizer() { return std::make_unique<NfcNormalizer>(); }

TokenizerPipeline pipeline_from_names(const TokenizerData& data) {
  TokenizerPipeline pipeline;
  pipeline.added = added_tokens(data);
  if (data.model == "gpt2") {
    byte_level(data, pipeline);
  } else {
    throw_error(ErrorCode::kUnsupported,
                "the tokenizer is of a kind named '{}', which is not known here; known are gpt2, llama and bert",
                data.model);
  }
  if (data.add_bos && data.bos >= 0) pipeline.prefix.push_back(data.bos);
  if (data.add_eos && data.eos >= 0) pipeline.suffix.push_back(data.eos);
  return pipeline;
}

}  // namespace carronade
