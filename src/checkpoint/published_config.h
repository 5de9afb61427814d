// A published `config.json` (and its companions) in GGUF's vocabulary. Sources: the configuration classes of
// transformers, and the metadata that llama.cpp's converter writes for the same models.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"

namespace carronade {

using Metadata = std::map<std::string, MetadataValue, std::less<>>;

struct PublishedConfig {
  Metadata metadata;
  std::string architecture;      // GGUF's name: "qwen2"
  bool tied_embeddings = false;  // then lm_head.weight, if it is there, is a copy of the embeddings
  int64_t vocabulary = 0;        // rows of the embeddings; may be more than the tokenizer has
  std::vector<float>
      rope_factors;  // llama3 scaling: divisors of the frequencies, for the tensor rope_freqs.weight; else empty
};

// `config` is the content of `file`. Throws Error{kCorruptFile} for values of a wrong type, Error{kUnsupported} for a
// model type, a quantization or a rope scaling that we do not do, by name.
PublishedConfig translate_config(const nlohmann::json& config, const std::string& file);

// generation_config.json → general.sampling.*, under llama.cpp's names.
void translate_generation_config(const nlohmann::json& config, Metadata& metadata);

// GGUF's name of a tensor, or empty for one that the architecture does not use.
std::string translate_tensor_name(std::string_view architecture, std::string_view name);

}  // namespace carronade
