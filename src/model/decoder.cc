#include "model/decoder.h"

#include <utility>

#include "base/error.h"
#include "model/loader.h"
#include "model/metadata.h"
#include "model/rope.h"

namespace carronade {
namespace {

// Weights of one layer; shapes as in Backend's ops. What an architecture has not is nullptr.
struct Layer {
  WeightHandle attention_norm;
  WeightHandle q, k, v, q_bias, k_bias, v_bias, q_norm, k_norm;
  WeightHandle attention_output, attention_output_bias;
  WeightHandle attention_post_norm;
  WeightHandle ffn_norm;
  WeightHandle gate, up, down;
  WeightHandle ffn_post_norm;
};

class Decoder final : public Model {
 public:
  Decoder(ModelConfig config, const Checkpoint& checkpoint, Backend& backend, const LoadProgress& progress);

  const ModelConfig& config() const override { return config_; }
  void forward(const Batch& batch) override;
  void embed(const Batch& batch) override;

 private:
  const Weight* adapted_weight(std::string_view name) const override;
  void load_layer(int index, Loader& loader);
  void load_attention(const std::string& prefix, Layer& layer, Loader& loader) const;
  void forward_layers(const Batch& batch, bool outputs_only);
  void forward_layer(const Layer& layer, int index, bool outputs_only);
  void add_product(const Activation& in, const Weight& weight, const Weight* bias, const Weight* post_norm);

  ModelConfig config_;
  WeightHandle embeddings_;   // [vocabulary, hidden]
  WeightHandle output_norm_;  // [1, hidden]
  WeightHandle output_;       // [vocabulary, hidden], or nullptr: tied
  std::vector<Layer> layers_;

  ActivationHandle x_;          // [rows, hidden] the residual stream
  ActivationHandle normed_;     // [rows, hidden]
  ActivationHandle q_;          // [rows, heads * head_dim]
  ActivationHandle attention_;  // [rows, heads * head_dim]
  ActivationHandle gated_;      // [rows, ffn]
  ActivationHandle branch_;     // [rows, hidden], with post-norms only
};

Decoder::Decoder(ModelConfig config, const Checkpoint& checkpoint, Backend& backend, const LoadProgress& progress)
    : Model(backend), config_(std::move(config)) {
  Loader loader(checkpoint, backend, config_.norm_plus_one, progress);
  embeddings_ = loader.matrix("token_embd.weight", config_.vocabulary, config_.hidden,
                              config_.tied_embeddings ? WeightUse::kTied : WeightUse::kEmbedding);
  layers_.resize(static_cast<size_t>(config_.layers));
  // The largest matrices first: while one is loaded, its file pages are resident beside its packed form.
  if (!config_.tied_embeddings) output_ = loader.matrix("output.weight", config_.vocabulary, config_.hidden);
  for (int i = 0; i < config_.layers; ++i) load_layer(i, loader);
  output_norm_ = loader.norm("output_norm.weight", config_.hidden);
  loader.finish();

  const int attention_width = config_.attention.heads * config_.attention.head_dim;
  x_ = backend.make_activation(config_.hidden, ActivationUse::kResidual);
  normed_ = backend.make_activation(config_.hidden, ActivationUse::kOperand);
  q_ = backend.make_activation(attention_width, ActivationUse::kQuery);
  attention_ = backend.make_activation(attention_width, ActivationUse::kOperand);
  gated_ = backend.make_activation(config_.ffn, ActivationUse::kOperand);
  if (config_.post_norms) branch_ = backend.make_activation(config_.hidden, ActivationUse::kResidual);
}

void Decoder::load_attention(const std::string& prefix, Layer& layer, Loader& loader) const {
  const AttentionShape& shape = config_.attention;
  const int64_t hidden = config_.hidden;
  const int64_t q_width = int64_t{shape.heads} * shape.head_dim, kv_width = int64_t{shape.kv_heads} * shape.head_dim;
  const auto bias = [&](const char* name, int64_t n) {
    return config_.qkv_bias ? loader.vector(prefix + name, n) : loader.vector_if_any(prefix + name, n);
  };
  layer.q = loader.matrix(prefix + "attn_q.weight", q_width, hidden);
  layer.k = loader.matrix(prefix + "attn_k.weight", kv_width, hidden);
  layer.v = loader.matrix(prefix + "attn_v.weight", kv_width, hidden);
  layer.q_bias = bias("attn_q.bias", q_width);
  layer.k_bias = bias("attn_k.bias", kv_width);
  layer.v_bias = bias("attn_v.bias", kv_width);
  if (config_.qk_norm) {
    layer.q_norm = loader.norm(prefix + "attn_q_norm.weight", shape.head_dim);
    layer.k_norm = loader.norm(prefix + "attn_k_norm.weight", shape.head_dim);
  }
  layer.attention_output = loader.matrix(prefix + "attn_output.weight", hidden, q_width);
  layer.attention_output_bias = loader.vector_if_any(prefix + "attn_output.bias", hidden);
}

void Decoder::load_layer(int index, Loader& loader) {
  const int64_t hidden = config_.hidden, ffn = config_.ffn;
  const std::string prefix = fmt::format("blk.{}.", index);
  Layer& layer = layers_[static_cast<size_t>(index)];
  layer.attention_norm = loader.norm(prefix + "attn_norm.weight", hidden);
  load_attention(prefix, layer, loader);
  layer.ffn_norm = loader.norm(prefix + "ffn_norm.weight", hidden);
  layer.gate = loader.matrix(prefix + "ffn_gate.weight", ffn, hidden);
  layer.up = loader.matrix(prefix + "ffn_up.weight", ffn, hidden);
  layer.down = loader.matrix(prefix + "ffn_down.weight", hidden, ffn);
  if (config_.post_norms) {
    layer.attention_post_norm = loader.norm(prefix + "post_attention_norm.weight", hidden);
    layer.ffn_post_norm = loader.norm(prefix + "post_ffw_norm.weight", hidden);
  }
}

const Weight* Decoder::adapted_weight(std::string_view name) const {
  if (name == "output.weight") return output_ ? output_.get() : embeddings_.get();
  for (size_t i = 0; i < layers_.size(); ++i) {
    const std::string prefix = fmt::format("blk.{}.", i);
    if (!name.starts_with(prefix)) continue;
    name.remove_prefix(prefix.size());
    const Layer& layer = layers_[i];
    if (name == "attn_q.weight") return layer.q.get();
    if (name == "attn_k.weight") return layer.k.get();
    if (name == "attn_v.weight") return layer.v.get();
    if (name == "attn_output.weight") return layer.attention_output.get();
    if (name == "ffn_gate.weight") return layer.gate.get();
    if (name == "ffn_up.weight") return layer.up.get();
    if (name == "ffn_down.weight") return layer.down.get();
  }
  return nullptr;
}

// x += W · in + bias, or x += norm(W · in + bias).
void Decoder::add_product(const Activation& in, const Weight& weight, const Weight* bias, const Weight* post_norm) {
  backend_.linear(in, weight, bias, !post_norm, post_norm ? *branch_ : *x_);                // [rows, hidden]
  if (post_norm) backend_.rms_norm(*branch_, *post_norm, config_.norm_epsilon, true, *x_);  // [rows, hidden]
}

// `outputs_only`: of the last layer, whose other rows nobody will look at.
void Decoder::forward_layer(const Layer& layer, int index, bool outputs_only) {
  Backend& backend = backend_;
  const float epsilon = config_.norm_epsilon;
  const bool local = config_.is_local(index);
  const Rope& rope = local ? config_.local_rope : config_.rope;
  const AttentionOptions& options = local ? config_.local_attention_options : config_.attention_options;
  const QkvWeights qkv{.q = layer.q.get(),
                       .k = layer.k.get(),
                       .v = layer.v.get(),
                       .q_bias = layer.q_bias.get(),
                       .k_bias = layer.k_bias.get(),
                       .v_bias = layer.v_bias.get(),
                       .q_norm = layer.q_norm.get(),
                       .k_norm = layer.k_norm.get(),
                       .norm_epsilon = epsilon};

  // Attention: x += Wo · attention(norm(x))
  backend.rms_norm(*x_, *layer.attention_norm, epsilon, false, *normed_);      // [rows, hidden]
  backend.qkv_rope_store(*normed_, qkv, config_.attention, rope, index, *q_);  // [rows, heads * head_dim]
  if (outputs_only) backend.keep_output_rows(*x_, *q_);
  backend.paged_attention(*q_, config_.attention, options, index, *attention_);  // [rows, heads * head_dim]
  add_product(*attention_, *layer.attention_output, layer.attention_output_bias.get(), layer.attention_post_norm.get());

  // Feed-forward: x += Wdown · (gate(Wgate · norm(x)) * (Wup · norm(x)))
  backend.rms_norm(*x_, *layer.ffn_norm, epsilon, false, *normed_);            // [rows, hidden]
  backend.gated_mlp(*normed_, *layer.gate, *layer.up, config_.gate, *gated_);  // [rows, ffn]
  add_product(*gated_, *layer.down, nullptr, layer.ffn_post_norm.get());
}

void Decoder::forward_layers(const Batch& batch, bool outputs_only) {
  backend_.begin_step(batch);
  backend_.embed(*embeddings_, config_.embedding_scale, *x_);  // [rows, hidden]
  for (int i = 0; i < config_.layers; ++i)
    forward_layer(layers_[static_cast<size_t>(i)], i, outputs_only && i + 1 == config_.layers);
}

void Decoder::forward(const Batch& batch) {
  forward_layers(batch, true);
  if (!batch.output_rows.empty()) {
    const Weight& head = output_ ? *output_ : *embeddings_;
    backend_.logits(*x_, *output_norm_, config_.norm_epsilon, head, config_.logit_soft_cap);  // [outputs, vocabulary]
  }
  backend_.wait();
}

void Decoder::embed(const Batch& batch) {
  forward_layers(batch, false);
  backend_.pooled(*x_, output_norm_.get(), config_.norm_epsilon, config_.pooling);  // [sequences, hidden]
  backend_.wait();
}

// Which layers see a window only: a list of them, or every n-th sees everything. As llama.cpp reads it.
std::vector<bool> read_local_layers(const Checkpoint& checkpoint, const ModelMetadata& metadata, int layers,
                                    int pattern) {
  const std::string key = checkpoint.architecture() + ".attention.sliding_window_pattern";
  const auto found = checkpoint.metadata().find(key);
  if (found != checkpoint.metadata().end()) {
    if (const auto* list = std::get_if<std::vector<bool>>(&found->second)) {
      if (list->size() == static_cast<size_t>(layers)) return *list;
      throw_error(ErrorCode::kCorruptFile, "{}: {} lists {} layers of {}", checkpoint.path().string(), key,
                  list->size(), layers);
    }
    pattern = metadata.integer("attention.sliding_window_pattern", 0, 1024);
  }
  std::vector<bool> local;
  for (int i = 0; i < layers; ++i) local.push_back(pattern == 0 || i % pattern < pattern - 1);
  return local;
}

}  // namespace

ModelConfig read_decoder_config(const Checkpoint& checkpoint, const DecoderDefaults& defaults) {
  const ModelMetadata metadata(checkpoint);
  ModelConfig config = read_common_config(checkpoint, Pooling::kLast);
  config.norm_epsilon = metadata.real("attention.layer_norm_rms_epsilon", 0.0, 1.0);
  config.norm_plus_one = checkpoint.boolean("carronade.norm.plus_one").value_or(false);
  config.rope =
      read_rope(checkpoint, config.attention.head_dim, config.context_length, defaults.pairing, defaults.rope_base);
  config.attention_options.soft_cap = metadata.real_or("attn_logit_softcapping", 0.0f, 0.0, 1e6);
  config.logit_soft_cap = metadata.real_or("final_logit_softcapping", 0.0f, 0.0, 1e6);

  if (const int window = metadata.integer_or("attention.sliding_window", 0, 0, 1 << 28); window > 0) {
    config.local_layers = read_local_layers(checkpoint, metadata, config.layers, defaults.window_pattern);
    config.local_attention_options = config.attention_options;
    config.local_attention_options.window = window;
    config.local_rope = config.rope;
  }
  config.tied_embeddings = !checkpoint.find("output.weight");
  return config;
}

std::unique_ptr<Model> load_decoder(ModelConfig config, const Checkpoint& checkpoint, Backend& backend,
                                    const LoadProgress& progress) {
  return std::make_unique<Decoder>(std::move(config), checkpoint, backend, progress);
}

}  // namespace carronade
