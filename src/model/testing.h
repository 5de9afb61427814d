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
  bool output_bias = false;  // a bias behind attention, and on llama also on q, k and v
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
      if (architecture == "qwen2" || output_bias) {
        vector(layer + "attn_q.bias", hidden, 0.0f);
        vector(layer + "attn_k.bias", kv_width, 0.0f);
        vector(layer + "attn_v.bias", kv_width, 0.0f);
      }
      if (output_bias) vector(layer + "attn_output.bias", hidden, 0.0f);
      if (architecture == "qwen3" || architecture == "gemma3") {
        vector(layer + "attn_q_norm.weight", hidden / heads, 1.0f);
        vector(layer + "attn_k_norm.weight", hidden / heads, 1.0f);
      }
      if (architecture == "gemma3") {
        vector(layer + "post_attention_norm.weight", hidden, 1.0f);
        vector(layer + "post_ffw_norm.weight", hidden, 1.0f);
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

// A tiny random encoder.
struct TinyBert {
  int vocabulary = 97;
  int hidden = 64, ffn = 96, layers = 2, heads = 4;
  int context = 40;
  uint32_t pooling = 1;  // GGUF's number: mean
  uint32_t seed = 1;

  GgufBuilder build() const {
    std::mt19937 random(seed);
    GgufBuilder file;
    const auto number = [](int value) { return static_cast<uint32_t>(value); };
    file.set("general.architecture", "bert").set("general.name", "tiny");
    file.set("bert.block_count", number(layers)).set("bert.context_length", number(context));
    file.set("bert.embedding_length", number(hidden)).set("bert.feed_forward_length", number(ffn));
    file.set("bert.attention.head_count", number(heads)).set("bert.attention.layer_norm_epsilon", 1e-12f);
    file.set("bert.pooling_type", pooling).set("bert.attention.causal", false);
    const auto matrix = [&](const std::string& name, int rows, int columns, float deviation = 0.2f) {
      file.random_tensor(name, DType::kF32, {rows, columns}, random, deviation);
    };
    const auto vector = [&](const std::string& name, int n, float mean) {
      file.random_tensor(name, DType::kF32, {n}, random, 0.2f, mean);
    };
    const auto linear = [&](const std::string& name, int rows, int columns) {
      matrix(name + ".weight", rows, columns);
      vector(name + ".bias", rows, 0.0f);
    };
    const auto norm = [&](const std::string& name) {
      vector(name + ".weight", hidden, 1.0f);
      vector(name + ".bias", hidden, 0.0f);
    };
    matrix("token_embd.weight", vocabulary, hidden, 1.0f);
    matrix("position_embd.weight", context, hidden, 1.0f);
    matrix("token_types.weight", 2, hidden, 1.0f);
    norm("token_embd_norm");
    for (int i = 0; i < layers; ++i) {
      const std::string layer = "blk." + std::to_string(i) + ".";
      for (const char* part : {"attn_q", "attn_k", "attn_v", "attn_output"}) linear(layer + part, hidden, hidden);
      norm(layer + "attn_output_norm");
      linear(layer + "ffn_up", ffn, hidden);
      linear(layer + "ffn_down", hidden, ffn);
      norm(layer + "layer_output_norm");
    }
    return file;
  }
};

}  // namespace carronade
