// A tiny random model in a GGUF file. Only tests include it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <random>
#include <string>

#include "checkpoint/gguf_builder.h"

namespace carronade {

struct TinyModel {
  std::string architecture = "llama";
  int vocabulary = 97;  // odd: no layout divides it
  int hidden = 64, ffn = 96, layers = 2, heads = 4, kv_heads = 2;
  int context = 512;
  bool tied = false;
  DType dtype = DType::kF32;
  uint32_t seed = 1;

  // Another architecture's biases are random too. Weights are large enough that answers differ from token to token.
  GgufBuilder build() const {
    std::mt19937 random(seed);
    GgufBuilder file;
    const auto key = [&](const char* name) { return architecture + "." + name; };
    const auto number = [](int value) { return static_cast<uint32_t>(value); };
    file.set("general.architecture", architecture).set("general.name", "tiny");
    file.set(key("block_count"), number(layers)).set(key("context_length"), number(context));
    file.set(key("embedding_length"), number(hidden)).set(key("feed_forward_length"), number(ffn));
    file.set(key("attention.head_count"), number(heads)).set(key("attention.head_count_kv"), number(kv_heads));
    file.set(key("attention.layer_norm_rms_epsilon"), 1e-5f);
    const int kv_width = hidden / heads * kv_heads;
    const auto matrix = [&](const std::string& name, int rows, int columns) {
      file.random_tensor(name, dtype, {rows, columns}, random, 0.2f);
    };
    const auto vector = [&](const std::string& name, int n, float mean) {
      file.random_tensor(name, DType::kF32, {n}, random, 0.1f, mean);
    };
    matrix("token_embd.weight", vocabulary, hidden);
    for (int i = 0; i < layers; ++i) {
      const std::string layer = "blk." + std::to_string(i) + ".";
      vector(layer + "attn_norm.weight", hidden, 1.0f);
      matrix(layer + "attn_q.weight", hidden, hidden);
      matrix(layer + "attn_k.weight", kv_width, hidden);
      matrix(layer + "attn_v.weight", kv_width, hidden);
      if (architecture == "qwen2") {
        vector(layer + "attn_q.bias", hidden, 0.0f);
        vector(layer + "attn_k.bias", kv_width, 0.0f);
        vector(layer + "attn_v.bias", kv_width, 0.0f);
      }
      matrix(layer + "attn_output.weight", hidden, hidden);
      vector(layer + "ffn_norm.weight", hidden, 1.0f);
      matrix(layer + "ffn_gate.weight", ffn, hidden);
      matrix(layer + "ffn_up.weight", ffn, hidden);
      matrix(layer + "ffn_down.weight", hidden, ffn);
    }
    vector("output_norm.weight", hidden, 1.0f);
    if (!tied) matrix("output.weight", vocabulary, hidden);
    return file;
  }
};

}  // namespace carronade
