#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/testing.h"
#include "checkpoint/published_config.h"
#include "checkpoint/safetensors_file.h"

namespace carronade {
namespace {

using nlohmann::json;

// A safetensors file of tensors whose bytes count up, in the order given.
class SafetensorsBuilder {
 public:
  SafetensorsBuilder& add(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape,
                          size_t bytes_each) {
    size_t size = bytes_each;
    for (const int64_t extent : shape) size *= static_cast<size_t>(extent);
    header_[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {data_.size(), data_.size() + size}}};
    for (size_t i = 0; i < size; ++i) data_ += static_cast<char>(i % 61);
    return *this;
  }
  std::string build() const { return with_header(header_.dump()); }
  std::string with_header(const std::string& header) const {
    const uint64_t length = header.size();
    std::string file(8, '\0');
    std::memcpy(file.data(), &length, 8);
    return file + header + data_;
  }
  json& header() { return header_; }

 private:
  json header_ = json::object();
  std::string data_;
};

json llama_config() {
  return {{"model_type", "llama"},   {"num_hidden_layers", 1},         {"hidden_size", 8},
          {"intermediate_size", 16}, {"num_attention_heads", 2},       {"num_key_value_heads", 1},
          {"vocab_size", 6},         {"max_position_embeddings", 512}, {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},   {"tie_word_embeddings", false},   {"eos_token_id", 2},
          {"bos_token_id", 1}};
}

SafetensorsBuilder llama_weights() {
  SafetensorsBuilder file;
  file.add("model.embed_tokens.weight", "BF16", {6, 8}, 2).add("lm_head.weight", "F16", {6, 8}, 2);
  file.add("model.norm.weight", "F32", {8}, 4).add("model.layers.0.self_attn.q_proj.weight", "BF16", {8, 8}, 2);
  file.add("model.layers.0.post_attention_layernorm.weight", "BF16", {8}, 2);
  file.add("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {2}, 4);
  return file;
}

class Safetensors : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories((folder() / name).parent_path());
    std::ofstream(folder() / name, std::ios::binary)
        .write(content.data(), static_cast<std::streamsize>(content.size()));
  }
  void write(const std::string& name, const json& content) const { write(name, content.dump()); }
  std::filesystem::path folder() const { return directory_.path() / "model"; }
  std::shared_ptr<const Checkpoint> open() const { return Checkpoint::open(folder()); }

  // The error's message, the folder cut off; empty when there is none.
  std::string error(const std::function<void()>& call) const {
    try {
      call();
    } catch (const Error& error) {
      std::string message = error.what();
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
      for (size_t at; (at = message.find(folder().string() + "/")) != std::string::npos;) {
        message.erase(at, folder().string().size() + 1);
      }
      return message;
    }
    return {};
  }
  std::string open_error() const {
    return error([&] { open(); });
  }

  TemporaryDirectory directory_;
};

TEST_F(Safetensors, AFolderReadsAsGgufWould) {
  write("config.json", llama_config());
  write("model.safetensors", llama_weights().build());
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->format(), "safetensors");
  EXPECT_EQ(checkpoint->architecture(), "llama");
  EXPECT_EQ(checkpoint->string("general.name"), "model");
  EXPECT_EQ(checkpoint->integer("llama.block_count"), 1);
  EXPECT_EQ(checkpoint->integer("llama.embedding_length"), 8);
  EXPECT_EQ(checkpoint->integer("llama.feed_forward_length"), 16);
  EXPECT_EQ(checkpoint->integer("llama.attention.head_count"), 2);
  EXPECT_EQ(checkpoint->integer("llama.attention.head_count_kv"), 1);
  EXPECT_EQ(checkpoint->integer("llama.attention.key_length"), 4);
  EXPECT_EQ(checkpoint->integer("llama.rope.dimension_count"), 4);
  EXPECT_EQ(checkpoint->integer("llama.context_length"), 512);
  EXPECT_EQ(checkpoint->real("llama.attention.layer_norm_rms_epsilon"), 1e-5);
  EXPECT_EQ(checkpoint->real("llama.rope.freq_base"), 10000.0);
  EXPECT_EQ(checkpoint->string("carronade.rope.pairing"), "halves");
  EXPECT_EQ(checkpoint->integer("tokenizer.ggml.eos_token_id"), 2);
  EXPECT_EQ(checkpoint->end_of_generation(), std::vector<TokenId>{2});
  EXPECT_EQ(checkpoint->tensors().size(), 5u);  // not inv_freq
  const TensorView* q = checkpoint->find("blk.0.attn_q.weight");
  ASSERT_NE(q, nullptr);
  EXPECT_EQ(q->dtype, DType::kBF16);
  EXPECT_EQ(q->shape, (std::vector<int64_t>{8, 8}));
  EXPECT_EQ(static_cast<int>(q->bytes[60]), 60);
  EXPECT_GE(q->bytes.data(), q->file->bytes().data());
  EXPECT_NE(checkpoint->find("output.weight"), nullptr);
  EXPECT_NE(checkpoint->find("output_norm.weight"), nullptr);
  EXPECT_NE(checkpoint->find("blk.0.ffn_norm.weight"), nullptr);
  EXPECT_EQ(checkpoint->file_bytes(), std::filesystem::file_size(folder() / "model.safetensors"));
}

TEST_F(Safetensors, OneFileOfTheFolderCanBeNamed) {
  write("config.json", llama_config());
  write("model.safetensors", llama_weights().build());
  EXPECT_NE(Checkpoint::open(folder() / "model.safetensors")->find("token_embd.weight"), nullptr);
}

TEST_F(Safetensors, TiedEmbeddingsHaveNoOutputMatrix) {
  json config = llama_config();
  config["tie_word_embeddings"] = true;
  write("config.json", config);
  write("model.safetensors", llama_weights().build());
  EXPECT_EQ(open()->find("output.weight"), nullptr);
}

TEST_F(Safetensors, ShardsByIndex) {
  write("config.json", llama_config());
  write("model-00001-of-00002.safetensors",
        SafetensorsBuilder().add("model.embed_tokens.weight", "BF16", {6, 8}, 2).build());
  write("model-00002-of-00002.safetensors", SafetensorsBuilder().add("lm_head.weight", "F32", {6, 8}, 4).build());
  write("model.safetensors.index.json", json{{"weight_map",
                                              {{"model.embed_tokens.weight", "model-00001-of-00002.safetensors"},
                                               {"lm_head.weight", "model-00002-of-00002.safetensors"}}}});
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->find("token_embd.weight")->file->path().filename(), "model-00001-of-00002.safetensors");
  EXPECT_EQ(checkpoint->find("output.weight")->dtype, DType::kF32);
  EXPECT_EQ(Checkpoint::open(folder() / "model-00001-of-00002.safetensors")->tensors().size(), 2u);

  write("model-00002-of-00002.safetensors",
        SafetensorsBuilder().add("model.embed_tokens.weight", "BF16", {6, 8}, 2).build());
  EXPECT_EQ(open_error(),
            "model-00002-of-00002.safetensors: the tensor model.embed_tokens.weight is in another file too");
  std::filesystem::remove(folder() / "model-00002-of-00002.safetensors");
  EXPECT_EQ(open_error(),
            "model-00002-of-00002.safetensors: the file is missing that model.safetensors.index.json names");
  for (const char* name : {"../secret.safetensors", "/etc/passwd", "", "sub/x.safetensors", "pytorch_model.bin"}) {
    write("model.safetensors.index.json", json{{"weight_map", {{"t", name}}}});
    EXPECT_NE(open_error().find("t should lie in a .safetensors file of this folder"), std::string::npos) << name;
  }
  write("model.safetensors.index.json", json{{"weight_map", {{"t", 7}}}});
  EXPECT_EQ(open_error(), "model.safetensors.index.json: the file of t should be a text");
  write("model.safetensors.index.json", json{{"metadata", 1}});
  EXPECT_NE(open_error().find("\"weight_map\" should be"), std::string::npos);
}

TEST_F(Safetensors, GenerationConfigAndTemplates) {
  write("config.json", llama_config());
  write("model.safetensors", llama_weights().build());
  write("generation_config.json", json{{"temperature", 0.6}, {"top_p", 0.95}, {"top_k", 20}, {"eos_token_id", {4, 2}}});
  write("tokenizer_config.json", json{{"chat_template", "old"}});
  EXPECT_EQ(open()->chat_template(), "old");
  EXPECT_EQ(open()->real("general.sampling.temp"), 0.6);
  EXPECT_EQ(open()->real("general.sampling.top_p"), 0.95);
  EXPECT_EQ(open()->integer("general.sampling.top_k"), 20);
  EXPECT_EQ(open()->integer("tokenizer.ggml.eos_token_id"), 4);
  EXPECT_EQ(open()->end_of_generation(), (std::vector<TokenId>{2, 4}));
  write("tokenizer_config.json",
        json{{"chat_template", {{{"name", "default"}, {"template", "d"}}, {{"name", "rag"}, {"template", "r"}}}}});
  EXPECT_EQ(open()->chat_template(), "d");
  EXPECT_EQ(open()->string("tokenizer.chat_template.rag"), "r");
  write("chat_template.jinja", std::string("{{ new }}"));
  EXPECT_EQ(open()->chat_template(), "{{ new }}");
  write("tokenizer_config.json", json{{"chat_template", {{{"name", "default"}}}}});
  EXPECT_EQ(open_error(),
            "tokenizer_config.json: an element of \"chat_template\" should have a \"name\" and a \"template\"");
  write("generation_config.json", json{{"eos_token_id", 6}});
  EXPECT_EQ(open_error(), "generation_config.json: \"eos_token_id\" should be token ids below 6, found 6");
}

TEST_F(Safetensors, TheTokenizerIsPaddedToTheEmbeddings) {
  write("config.json", llama_config());
  write("model.safetensors", llama_weights().build());
  EXPECT_EQ(error([&] { open()->tokenizer_data(); }), "tokenizer.json is missing: there is no tokenizer");
  write("tokenizer.json",
        json{{"version", "1.0"},
             {"added_tokens",
              {{{"id", 3},
                {"content", "<|im_end|>"},
                {"special", true},
                {"single_word", false},
                {"lstrip", false},
                {"rstrip", false},
                {"normalized", false}}}},
             {"normalizer", nullptr},
             {"pre_tokenizer",
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
             {"post_processor", nullptr},
             {"decoder", {{"type", "ByteLevel"}}},
             {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}}, {"merges", {"a b"}}}}});
  const auto checkpoint = open();
  const TokenizerData data = checkpoint->tokenizer_data();
  ASSERT_EQ(data.tokens.size(), 6u);
  EXPECT_EQ(data.tokens[2], "ab");
  EXPECT_EQ(data.tokens[5], "[PAD5]");
  EXPECT_EQ(data.types[5], TokenType::kUnused);
  EXPECT_EQ(data.types[3], TokenType::kControl);
  EXPECT_EQ(data.eos, 2);
  EXPECT_EQ(checkpoint->end_of_generation(), (std::vector<TokenId>{2, 3}));
  json config = llama_config();
  config["vocab_size"] = 3;
  write("config.json", config);
  EXPECT_EQ(error([&] { open()->tokenizer_data(); }), "tokenizer.json: it has 4 tokens, and config.json says 3");
  write("tokenizer.json", std::string("{"));
  EXPECT_EQ(error([&] { open()->tokenizer_data(); }).find("tokenizer.json: "), 0u);
}

TEST_F(Safetensors, WhatIsMissingIsNamed) {
  std::filesystem::create_directories(folder());
  EXPECT_EQ(open_error(), "config.json is missing: safetensors need it beside them");
  write("config.json", llama_config());
  EXPECT_NE(open_error().find("neither model.safetensors nor model.safetensors.index.json"), std::string::npos);
  write("pytorch_model.bin", std::string("x"));
  EXPECT_NE(open_error().find("pytorch_model.bin is not supported"), std::string::npos);
}

PublishedConfig translate(const json& config) { return translate_config(config, "config.json"); }

double real_of(const PublishedConfig& config, const std::string& key) {
  return std::get<double>(config.metadata.at(key));
}

TEST(PublishedConfig, RopeScalings) {
  json config = llama_config();
  config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 4}};
  EXPECT_EQ(real_of(translate(config), "llama.rope.scaling.factor"), 4.0);
  config["rope_scaling"] = {
      {"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 128}, {"beta_fast", 16}};
  EXPECT_EQ(std::get<std::string>(translate(config).metadata.at("llama.rope.scaling.type")), "yarn");
  EXPECT_EQ(std::get<int64_t>(translate(config).metadata.at("llama.rope.scaling.original_context_length")), 128);
  EXPECT_EQ(real_of(translate(config), "llama.rope.scaling.yarn_beta_fast"), 16.0);
  config["rope_scaling"] = nullptr;
  config["rope_parameters"] = {{"rope_theta", 5e5}, {"rope_type", "default"}};
  EXPECT_EQ(real_of(translate(config), "llama.rope.freq_base"), 5e5);
  EXPECT_FALSE(translate(config).metadata.contains("llama.rope.scaling.type"));
}

TEST(PublishedConfig, YarnsMagnitude) {
  json config = llama_config();
  json& yarn = config["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 8.0}};
  EXPECT_FALSE(translate(config).metadata.contains("llama.rope.scaling.yarn_attn_factor"));
  yarn["mscale"] = 1.0;
  EXPECT_FALSE(translate(config).metadata.contains("llama.rope.scaling.yarn_attn_factor"));  // both, or neither counts
  yarn["mscale_all_dim"] = 0.5;
  EXPECT_NEAR(real_of(translate(config), "llama.rope.scaling.yarn_attn_factor"), 1.09418, 1e-6);
  yarn["attention_factor"] = 0.9;
  yarn["truncate"] = false;
  EXPECT_EQ(real_of(translate(config), "llama.rope.scaling.yarn_attn_factor"), 0.9);
  EXPECT_EQ(std::get<bool>(translate(config).metadata.at("carronade.rope.yarn_truncate")), false);
}

TEST(PublishedConfig, SlidingWindows) {
  const auto pattern = [](const json& config, const char* key) {
    return std::get<std::vector<bool>>(translate(config).metadata.at(key));
  };
  json qwen = llama_config();
  qwen["model_type"] = "qwen2";
  qwen["num_hidden_layers"] = 4;
  qwen["sliding_window"] = 4096;
  EXPECT_FALSE(translate(qwen).metadata.contains("qwen2.attention.sliding_window"));  // off unless it says otherwise
  qwen["use_sliding_window"] = true;
  qwen["max_window_layers"] = 3;
  EXPECT_EQ(pattern(qwen, "qwen2.attention.sliding_window_pattern"), (std::vector<bool>{false, false, false, true}));
  qwen["layer_types"] = {"sliding_attention", "full_attention", "full_attention", "full_attention"};
  EXPECT_EQ(pattern(qwen, "qwen2.attention.sliding_window_pattern"), (std::vector<bool>{true, false, false, false}));
  qwen["layer_types"] = {"chunked_attention"};
  EXPECT_THROW(translate(qwen), Error);
  json mistral = llama_config();
  mistral["model_type"] = "mistral";
  EXPECT_EQ(std::get<int64_t>(translate(mistral).metadata.at("mistral.attention.sliding_window")), 4096);
  mistral["sliding_window"] = nullptr;
  EXPECT_FALSE(translate(mistral).metadata.contains("mistral.attention.sliding_window"));
}

// As google/gemma-3-4b-it says of its language model: little.
TEST(PublishedConfig, WhatGemmaLeavesOutIsFilledIn) {
  const json config = {{"model_type", "gemma3"},
                       {"text_config",
                        {{"hidden_size", 2560},
                         {"intermediate_size", 10240},
                         {"model_type", "gemma3_text"},
                         {"num_hidden_layers", 34},
                         {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}},
                         {"sliding_window", 1024}}}};
  const PublishedConfig gemma = translate(config);
  const auto integer = [&](const char* key) { return std::get<int64_t>(gemma.metadata.at(key)); };
  EXPECT_EQ(integer("gemma3.attention.head_count"), 8);
  EXPECT_EQ(integer("gemma3.attention.head_count_kv"), 4);
  EXPECT_EQ(integer("gemma3.attention.key_length"), 256);
  EXPECT_EQ(integer("gemma3.context_length"), 131072);
  EXPECT_EQ(gemma.vocabulary, 262208);
  EXPECT_EQ(real_of(gemma, "gemma3.rope.freq_base"), 1e6);
  EXPECT_EQ(real_of(gemma, "gemma3.attention.query_pre_attn_scalar"), 256.0);
  EXPECT_TRUE(gemma.tied_embeddings);
}

TEST(PublishedConfig, OtherFunctionsThanTheArchitecturesOwnAreRefused) {
  const auto refusal = [](const char* type, const char* key, const json& value) {
    json config = llama_config();
    config["model_type"] = type;
    config[key] = value;
    try {
      translate(config);
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kUnsupported);
      return std::string(error.what());
    }
    return std::string("taken");
  };
  EXPECT_EQ(refusal("llama", "hidden_act", "silu"), "taken");
  EXPECT_NE(refusal("llama", "hidden_act", "relu2").find("relu2"), std::string::npos);
  EXPECT_NE(refusal("gemma3_text", "hidden_activation", "gelu").find("gelu_pytorch_tanh"), std::string::npos);
  EXPECT_NE(refusal("gemma3_text", "use_bidirectional_attention", true).find("bidirectional"), std::string::npos);
  EXPECT_EQ(refusal("bert", "hidden_act", "gelu"), "taken");
  EXPECT_NE(refusal("bert", "hidden_act", "gelu_new").find("gelu_new"), std::string::npos);
  EXPECT_NE(refusal("bert", "position_embedding_type", "relative_key").find("relative_key"), std::string::npos);
}

// Llama 3.2 1B: head_dim 64, factor 32, base 500000. Expected: computed with transformers' formula in double precision.
TEST(PublishedConfig, Llama3FactorsStretchLongWavesOnly) {
  json config = llama_config();
  config["head_dim"] = 64;
  config["rope_theta"] = 500000.0;
  config["rope_scaling"] = {{"factor", 32.0},
                            {"high_freq_factor", 4.0},
                            {"low_freq_factor", 1.0},
                            {"original_max_position_embeddings", 8192},
                            {"rope_type", "llama3"}};
  const std::vector<float> factors = translate(config).rope_factors;
  ASSERT_EQ(factors.size(), 32u);
  EXPECT_EQ(factors[0], 1.0f);
  EXPECT_EQ(factors[31], 32.0f);
  for (size_t i = 1; i < 32; ++i) EXPECT_GE(factors[i], factors[i - 1]);
  for (size_t i = 0; i < 32; ++i) {
    const double frequency = 1.0 / std::pow(500000.0, 2.0 * static_cast<double>(i) / 64.0);
    const double wavelength = 2 * M_PI / frequency;
    double scaled = wavelength > 8192.0 / 1.0 ? frequency / 32.0 : frequency;
    const double smooth = (8192.0 / wavelength - 1.0) / (4.0 - 1.0);
    if (wavelength >= 8192.0 / 4.0 && wavelength <= 8192.0 / 1.0) {
      scaled = (1 - smooth) * (frequency / 32.0) + smooth * frequency;
    }
    EXPECT_NEAR(factors[i], frequency / scaled, 1e-4 * factors[i]) << i;
  }
}

TEST(PublishedConfig, GemmaAndMistralAndBert) {
  json gemma = {{"model_type", "gemma3"}, {"text_config", llama_config()}};
  gemma["text_config"].erase("tie_word_embeddings");
  gemma["text_config"]["sliding_window"] = 512;
  const PublishedConfig g = translate(gemma);
  EXPECT_EQ(g.architecture, "gemma3");
  EXPECT_TRUE(g.tied_embeddings);
  EXPECT_EQ(std::get<bool>(g.metadata.at("carronade.norm.plus_one")), true);
  EXPECT_EQ(std::get<int64_t>(g.metadata.at("gemma3.attention.sliding_window")), 512);
  json mistral = llama_config();
  mistral["model_type"] = "mistral";
  EXPECT_EQ(translate(mistral).architecture, "mistral");
  json qwen = llama_config();
  qwen["model_type"] = "qwen2";
  qwen["sliding_window"] = 4096;
  qwen["use_sliding_window"] = false;
  EXPECT_FALSE(translate(qwen).metadata.contains("qwen2.attention.sliding_window"));
  json bert = llama_config();
  bert["model_type"] = "bert";
  EXPECT_EQ(std::get<bool>(translate(bert).metadata.at("bert.attention.causal")), false);
}

TEST(PublishedConfig, TensorNames) {
  const auto name = translate_tensor_name;
  EXPECT_EQ(name("qwen2", "model.layers.27.self_attn.k_proj.bias"), "blk.27.attn_k.bias");
  EXPECT_EQ(name("qwen3", "model.layers.0.self_attn.q_norm.weight"), "blk.0.attn_q_norm.weight");
  EXPECT_EQ(name("llama", "model.layers.3.post_attention_layernorm.weight"), "blk.3.ffn_norm.weight");
  EXPECT_EQ(name("gemma3", "model.layers.3.post_attention_layernorm.weight"), "blk.3.post_attention_norm.weight");
  EXPECT_EQ(name("gemma3", "language_model.model.layers.3.pre_feedforward_layernorm.weight"), "blk.3.ffn_norm.weight");
  EXPECT_EQ(name("bert", "bert.encoder.layer.1.attention.output.LayerNorm.bias"), "blk.1.attn_output_norm.bias");
  EXPECT_EQ(name("bert", "embeddings.word_embeddings.weight"), "token_embd.weight");
  EXPECT_EQ(name("llama", "lm_head.weight"), "output.weight");
  for (const char* unused : {"", "weight", ".weight", "model.layers.weight", "model.layers..mlp.up_proj.weight",
                             "model.layers.123456.mlp.up_proj.weight", "model.layers.1", "vision_tower.x.weight"}) {
    EXPECT_EQ(name("llama", unused), "") << unused;
  }
}

struct Damage {
  std::string name, expected;
  std::function<std::string()> make;
};

void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.name; }

// A file with one tensor `t`, F32 [2, 3], whose field is replaced.
std::function<std::string()> entry(const std::string& field, const json& value) {
  return [=] {
    SafetensorsBuilder builder;
    builder.add("t", "F32", {2, 3}, 4);
    builder.header()["t"][field] = value;
    return builder.build();
  };
}

std::function<std::string()> header(const std::string& text) {
  return [=] { return SafetensorsBuilder().with_header(text); };
}

std::string without(const std::string& field) {
  SafetensorsBuilder builder;
  builder.add("t", "F32", {2, 3}, 4);
  builder.header()["t"].erase(field);
  return builder.build();
}

std::vector<Damage> damages() {
  const auto raw = [](const std::string& bytes) { return [=] { return bytes; }; };
  const std::string deep = "{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
  return {
      {"Empty", "the file ends inside the length of the header", raw("")},
      {"SevenBytes", "the file ends inside the length of the header", raw("1234567")},
      {"HugeHeader", "the header's length is 18446744073709551615", raw(std::string(16, '\xff'))},
      {"HeaderBeyondTheEnd", "the header's length is 100, and the file has only 2 bytes",
       raw(std::string("d\0\0\0\0\0\0\0{}", 10))},
      {"HeaderTooLarge", "at most 33554432 is supported",
       [] { return std::string("\1\0\0\2\0\0\0\0", 8) + std::string((32 << 20) + 1, ' '); }},
      {"NotJson", "not valid JSON", header("{\"t\":")},
      {"NotUtf8", "not valid JSON", header("{\"\xff\": 1}")},
      {"NotAnObject", "the header should be a JSON object", header("[]")},
      {"Deep", "nests deeper than 3 levels", header(deep)},
      {"DuplicateTensor", "the key \"t\" stands twice", header("{\"t\":{},\"t\":{}}")},
      {"DuplicateField", "the key \"dtype\" stands twice", header("{\"t\":{\"dtype\":\"F32\",\"dtype\":\"F16\"}}")},
      {"EmptyName", "the name of a tensor is empty", header("{\"\":{}}")},
      {"EntryNotAnObject", "tensor t should be described by a JSON object", header("{\"t\":[]}")},
      {"NoDtype", "tensor t has no \"dtype\"", [] { return without("dtype"); }},
      {"NoShape", "tensor t has no \"shape\"", [] { return without("shape"); }},
      {"NoOffsets", "tensor t has no \"data_offsets\"", [] { return without("data_offsets"); }},
      {"DtypeNumber", "\"dtype\" should be a text", entry("dtype", 1)},
      {"UnknownDtype", "has the unknown dtype \"Q4\"", entry("dtype", "Q4")},
      {"ShapeText", "\"shape\" should be a list", entry("shape", "2x3")},
      {"NegativeExtent", "\"shape\" should be whole numbers, found -2", entry("shape", {-2, 3})},
      {"FractionalExtent", "\"shape\" should be whole numbers, found 2.5", entry("shape", {2.5, 3})},
      {"ManyDimensions", "has 9 dimensions; at most 8", entry("shape", {1, 1, 1, 1, 1, 1, 1, 1, 1})},
      {"ElementsOverflow", "more elements than 63 bits", entry("shape", {uint64_t{1} << 62, 8})},
      {"BitsOverflow", "more bits than 64 bits", entry("shape", {uint64_t{1} << 61, 2})},
      {"OneOffset", "\"data_offsets\" should be two numbers", entry("data_offsets", {0})},
      {"NegativeOffset", "\"data_offsets\" should be whole numbers, found -1", entry("data_offsets", {-1, 24})},
      {"OffsetsTurned", "begins at 24 and ends before, at 0", entry("data_offsets", {24, 0})},
      {"BeyondTheEnd", "lies at bytes 0 to 25 of the data, which has 24", entry("data_offsets", {0, 25})},
      {"HugeOffset", "of the data, which has 24", entry("data_offsets", {uint64_t{0}, ~uint64_t{0}})},
      {"OtherSize", "tensor t has 20 bytes, and its shape and dtype F32 make 24", entry("data_offsets", {0, 20})},
      {"Overlap", "the tensors a and b overlap",
       [] {
         SafetensorsBuilder builder;
         builder.add("a", "F32", {4}, 4).add("b", "F32", {4}, 4);
         builder.header()["b"]["data_offsets"] = {12, 28};
         return builder.build();
       }},
      {"CutData", "the file is damaged or its download is incomplete",
       [] {
         const std::string file = llama_weights().build();
         return file.substr(0, file.size() - 1);
       }},
  };
}

class DamagedSafetensors : public testing::TestWithParam<Damage> {};

TEST_P(DamagedSafetensors, IsOneClearLine) {
  const std::string file = GetParam().make();
  try {
    parse_safetensors({reinterpret_cast<const std::byte*>(file.data()), file.size()}, "damaged.safetensors");
    FAIL() << "the file was accepted";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find(GetParam().expected), std::string::npos) << message;
    EXPECT_EQ(message.find("damaged.safetensors: "), 0u) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_LT(message.size(), 400u);
    EXPECT_EQ(error.code, ErrorCode::kCorruptFile);
  }
}

INSTANTIATE_TEST_SUITE_P(, DamagedSafetensors, testing::ValuesIn(damages()),
                         [](const testing::TestParamInfo<Damage>& info) { return info.param.name; });

TEST(SafetensorsFile, EveryCutIsAnError) {
  const std::string file = llama_weights().build();
  for (size_t length = 0; length < file.size(); ++length) {
    const std::string part = file.substr(0, length);
    EXPECT_THROW(parse_safetensors({reinterpret_cast<const std::byte*>(part.data()), part.size()}, "x"), Error)
        << length;
  }
}

TEST_F(Safetensors, WrongConfigsAreNamed) {
  const std::pair<json, const char*> changes[] = {
      {{{"model_type", "rwkv"}}, "the model type \"rwkv\" is not supported; supported: qwen2 qwen3 llama"},
      {{{"model_type", nullptr}}, "\"model_type\" is missing"},
      {{{"hidden_size", nullptr}}, "\"hidden_size\" is missing"},
      {{{"hidden_size", "8"}}, "\"hidden_size\" should be an integer, found \"8\""},
      {{{"hidden_size", 8.5}}, "\"hidden_size\" should be an integer, found 8.5"},
      {{{"num_hidden_layers", ~uint64_t{0}}}, "\"num_hidden_layers\" should be an integer of 63 bits"},
      {{{"num_attention_heads", 0}}, "\"num_attention_heads\" should be at least 1"},
      {{{"vocab_size", -1}}, "\"vocab_size\" should be between 1 and 4194304"},
      {{{"rms_norm_eps", true}}, "\"rms_norm_eps\" should be a number"},
      {{{"tie_word_embeddings", "no"}}, "\"tie_word_embeddings\" should be true or false"},
      {{{"rope_scaling", 2}}, "\"rope_scaling\" should be an object"},
      {{{"rope_scaling", {{"type", "dynamic"}}}},
       "the rope scaling \"dynamic\" is not supported; supported: linear yarn"},
      {{{"rope_scaling", {{"type", "linear"}}}}, "\"factor\" is missing"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}}, "\"factor\" should be a positive number"},
      {{{"quantization_config", {{"quant_method", "awq"}}}}, "weights quantized by \"awq\" are not supported"},
      {{{"eos_token_id", -3}}, "\"eos_token_id\" should be token ids below 6, found -3"},
      {{{"eos_token_id", {1, "x"}}}, "\"eos_token_id\" should be token ids below 6, found \"x\""},
  };
  for (const auto& [change, expected] : changes) {
    json config = llama_config();
    config.update(change);
    write("config.json", config);
    const std::string message = open_error();
    EXPECT_EQ(message.find("config.json: "), 0u) << message;
    EXPECT_NE(message.find(expected), std::string::npos) << message;
  }
  write("config.json", std::string("[1]"));
  EXPECT_EQ(open_error(), "config.json: a JSON object is expected");
}

TEST_F(Safetensors, UnusableTensorsAreNamed) {
  write("config.json", llama_config());
  write("model.safetensors", SafetensorsBuilder().add("lm_head.weight", "F8_E4M3", {6, 8}, 1).build());
  EXPECT_EQ(open_error(),
            "model.safetensors: tensor lm_head.weight has the dtype F8_E4M3, which is not supported; supported: F32 "
            "F16 BF16");
  write("model.safetensors", SafetensorsBuilder().add("lm_head.weight", "F32", {}, 4).build());
  EXPECT_EQ(open_error(), "model.safetensors: tensor lm_head.weight should have 1 to 4 dimensions, none of them 0");
  write("model.safetensors",
        SafetensorsBuilder().add("model.norm.weight", "F32", {8}, 4).add("norm.weight", "F32", {8}, 4).build());
  EXPECT_NE(open_error().find("two tensors mean output_norm.weight"), std::string::npos);
}

}  // namespace
}  // namespace carronade
