// What tests of this room and of those above share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "model/testing.h"

namespace carronade {

// A tiny model with a byte-level tokenizer of single letters.
inline GgufBuilder with_tokenizer(const TinyModel& model) {
  GgufBuilder file = model.build();
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  for (int i = 0; i < model.vocabulary; ++i) {
    const bool letter = i < 94;
    tokens.push_back(letter ? std::string(1, static_cast<char>('!' + i)) : fmt::format("<{}>", i));
    types.push_back(letter ? 1 : 3);
  }
  file.set("tokenizer.ggml.model", "gpt2").set("tokenizer.ggml.pre", "qwen2");
  file.set("tokenizer.ggml.tokens", tokens).set("tokenizer.ggml.token_type", types);
  file.set("tokenizer.ggml.merges", std::vector<std::string>{});
  file.set("tokenizer.ggml.eos_token_id", uint32_t{95});
  return file;
}

}  // namespace carronade
