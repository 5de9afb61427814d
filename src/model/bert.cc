// BERT as embedding models use it (MiniLM, bge, e5, gte). Source: BERT (Devlin et al. 2018), and Vaswani et al. 2017
// for the layer. An encoder: every token sees the whole text, norms stand behind the sums, positions are learned. Texts
// come one by one, so every token has the first token type.
#include <array>
#include <utility>

#include "base/error.h"
#include "model/architecture.h"
#include "model/loader.h"
#include "model/metadata.h"

namespace carronade {
namespace {

struct NormWeights {
  WeightHandle weight, bias;  // [1, hidden]
};

struct Layer {
  WeightHandle q, k, v, q_bias, k_bias, v_bias;
  WeightHandle attention_output, attention_output_bias;
  NormWeights attention_norm;
  WeightHandle up, up_bias, down, down_bias;
  NormWeights output_norm;
};

class Bert final : public Model {
 public:
  Bert(ModelConfig config, const Checkpoint& checkpoint, Backend& backend, const LoadProgress& progress);

  const ModelConfig& config() const override { return config_; }
  void forward(const Batch& batch) override;
  void embed(const Batch& batch) override;

 private:
  const Weight* adapted_weight(std::string_view) const override { return nullptr; }
  static NormWeights load_norm(const std::string& name, int64_t n, Loader& loader) {
    return {loader.vector(name + ".weight", n), loader.vector(name + ".bias", n)};
  }
  Layer load_layer(int index, Loader& loader) const;
  void norm(const NormWeights& weights) {
    backend_.layer_norm(*x_, *weights.weight, *weights.bias, config_.norm_epsilon, *operand_);
  }
  void run_layer(const Layer& layer);

  ModelConfig config_;
  WeightHandle embeddings_;  // [vocabulary, hidden]
  WeightHandle positions_;   // [context_length, hidden], with the token type's row added
  NormWeights embedding_norm_;
  std::vector<Layer> layers_;

  ActivationHandle x_;          // [rows, hidden]
  ActivationHandle operand_;    // [rows, hidden] the same, as linear ops read it
  ActivationHandle q_;          // [rows, hidden]
  ActivationHandle attention_;  // [rows, hidden]
  ActivationHandle inner_;      // [rows, ffn]
};

std::vector<float> values_of(const TensorView& tensor, int64_t rows) {
  std::vector<float> values(static_cast<size_t>(rows * tensor.columns()));
  dequantize(tensor.dtype, tensor.bytes.data(), values.data(), static_cast<int64_t>(values.size()));
  return values;
}

// Learned positions plus the embedding of the first token type, which is every token's.
WeightHandle load_positions(const ModelConfig& config, const Checkpoint& checkpoint, Backend& backend) {
  const int64_t rows = config.context_length, hidden = config.hidden;
  std::vector<float> table = values_of(checkpoint.require("position_embd.weight", std::array{rows, hidden}), rows);
  if (const TensorView* types = checkpoint.find("token_types.weight")) {
    if (types->columns() != hidden) {
      throw_error(ErrorCode::kCorruptFile, "{}: token_types.weight has rows of {}, not of {}",
                  checkpoint.path().string(), types->columns(), hidden);
    }
    const std::vector<float> first = values_of(*types, 1);
    for (size_t i = 0; i < table.size(); ++i) table[i] += first[i % first.size()];
  }
  return backend.load_weight({"position_embd.weight", DType::kF32, rows, hidden, std::as_bytes(std::span(table))},
                             WeightUse::kEmbedding);
}

Bert::Bert(ModelConfig config, const Checkpoint& checkpoint, Backend& backend, const LoadProgress& progress)
    : Model(backend), config_(std::move(config)) {
  Loader loader(checkpoint, backend, false, progress);
  embeddings_ = loader.matrix("token_embd.weight", config_.vocabulary, config_.hidden, WeightUse::kEmbedding);
  positions_ = load_positions(config_, checkpoint, backend);
  embedding_norm_ = load_norm("token_embd_norm", config_.hidden, loader);
  for (int i = 0; i < config_.layers; ++i) layers_.push_back(load_layer(i, loader));
  loader.finish();

  x_ = backend.make_activation(config_.hidden, ActivationUse::kResidual);
  operand_ = backend.make_activation(config_.hidden, ActivationUse::kOperand);
  q_ = backend.make_activation(config_.hidden, ActivationUse::kQuery);
  attention_ = backend.make_activation(config_.hidden, ActivationUse::kOperand);
  inner_ = backend.make_activation(config_.ffn, ActivationUse::kOperand);
}

Layer Bert::load_layer(int index, Loader& loader) const {
  const int64_t hidden = config_.hidden, ffn = config_.ffn;
  const std::string prefix = fmt::format("blk.{}.", index);
  const auto matrix = [&](const char* name, int64_t rows, int64_t columns) {
    return loader.matrix(prefix + name, rows, columns);
  };
  const auto bias = [&](const char* name, int64_t n) { return loader.vector(prefix + name, n); };
  Layer layer;
  layer.q = matrix("attn_q.weight", hidden, hidden), layer.q_bias = bias("attn_q.bias", hidden);
  layer.k = matrix("attn_k.weight", hidden, hidden), layer.k_bias = bias("attn_k.bias", hidden);
  layer.v = matrix("attn_v.weight", hidden, hidden), layer.v_bias = bias("attn_v.bias", hidden);
  layer.attention_output = matrix("attn_output.weight", hidden, hidden);
  layer.attention_output_bias = bias("attn_output.bias", hidden);
  layer.attention_norm = load_norm(prefix + "attn_output_norm", hidden, loader);
  layer.up = matrix("ffn_up.weight", ffn, hidden), layer.up_bias = bias("ffn_up.bias", ffn);
  layer.down = matrix("ffn_down.weight", hidden, ffn), layer.down_bias = bias("ffn_down.bias", hidden);
  layer.output_norm = load_norm(prefix + "layer_output_norm", hidden, loader);
  return layer;
}

void Bert::run_layer(const Layer& layer) {
  constexpr int kKvLayer = 0;  // each layer is done with its keys and values before the next stores its own
  const QkvWeights qkv{.q = layer.q.get(),
                       .k = layer.k.get(),
                       .v = layer.v.get(),
                       .q_bias = layer.q_bias.get(),
                       .k_bias = layer.k_bias.get(),
                       .v_bias = layer.v_bias.get()};

  // Attention: x = norm(x + Wo · attention(x))
  backend_.qkv_rope_store(*operand_, qkv, config_.attention, config_.rope, kKvLayer, *q_);             // [rows, hidden]
  backend_.paged_attention(*q_, config_.attention, config_.attention_options, kKvLayer, *attention_);  // [rows, hidden]
  backend_.linear(*attention_, *layer.attention_output, layer.attention_output_bias.get(), true,
                  *x_);  // [rows, hidden]
  norm(layer.attention_norm);

  // Feed-forward: x = norm(x + Wdown · gelu(Wup · x))
  backend_.mlp(*operand_, *layer.up, layer.up_bias.get(), *inner_);         // [rows, ffn]
  backend_.linear(*inner_, *layer.down, layer.down_bias.get(), true, *x_);  // [rows, hidden]
  norm(layer.output_norm);
}

void Bert::embed(const Batch& batch) {
  backend_.begin_step(batch);
  backend_.embed(*embeddings_, 1.0f, *x_);   // [rows, hidden]
  backend_.add_positions(*positions_, *x_);  // [rows, hidden]
  norm(embedding_norm_);
  for (const Layer& layer : layers_) run_layer(layer);
  backend_.pooled(*x_, nullptr, 0.0f, config_.pooling);  // [sequences, hidden]
  backend_.wait();
}

void Bert::forward(const Batch& /*batch*/) {
  throw Error(ErrorCode::kUnsupported, "a bert model makes vectors of texts; it cannot write text", "model");
}

ModelConfig read_config(const Checkpoint& checkpoint) {
  const ModelMetadata metadata(checkpoint);
  ModelConfig config = read_common_config(checkpoint, Pooling::kMean);
  config.encoder = true;
  config.norm_epsilon = metadata.real("attention.layer_norm_epsilon", 0.0, 1.0);
  config.attention_options.mask = AttentionMask::kBidirectional;
  config.rope.dimensions = 0;
  if (config.attention.kv_heads != config.attention.heads ||
      config.attention.head_dim * config.attention.heads != config.hidden) {
    throw_error(ErrorCode::kUnsupported, "{}: a bert model whose heads share keys or do not fill its width of {}",
                checkpoint.path().string(), config.hidden);
  }
  return config;
}

}  // namespace

const Architecture kBert{
    .name = "bert",
    .read_config = read_config,
    .load = [](ModelConfig config, const Checkpoint& checkpoint, Backend& backend, const LoadProgress& progress)
        -> std::unique_ptr<Model> { return std::make_unique<Bert>(std::move(config), checkpoint, backend, progress); },
};

}  // namespace carronade
