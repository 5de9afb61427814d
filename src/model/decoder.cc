#include "model/decoder.h"

#include <array>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "model/metadata.h"

namespace carronade {
namespace {

constexpr int kNoRow = -1;  // any extent, for Checkpoint::require

// Weights of one layer; shapes as in Backend's ops.
struct Layer {
  WeightHandle attention_norm;
  WeightHandle q, k, v, q_bias, k_bias, v_bias;
  WeightHandle attention_output;
  WeightHandle ffn_norm;
  WeightHandle gate, up, down;
};

// Copies tensors from the checkpoint into the backend, drops the file's pages behind it and counts the bytes.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, Backend& backend, const LoadProgress& progress)
      : checkpoint_(checkpoint), backend_(backend), progress_(progress) {
    for (const TensorView& tensor : checkpoint.tensors()) total_ += tensor.bytes.size();
  }

  WeightHandle matrix(const std::string& name, int64_t rows, int64_t columns, WeightUse use = WeightUse::kLinear) {
    return load(checkpoint_.require(name, std::array{rows, columns}), use);
  }
  WeightHandle vector(const std::string& name, int64_t n) {
    return load(checkpoint_.require(name, std::array{n}), WeightUse::kVector);
  }
  void finish() const {
    if (progress_) progress_(total_, total_);
  }

 private:
  WeightHandle load(const TensorView& tensor, WeightUse use) {
    WeightHandle weight =
        backend_.load_weight({tensor.name, tensor.dtype, tensor.rows(), tensor.columns(), tensor.bytes}, use);
    if (tensor.file) tensor.file->drop_pages(tensor.bytes);
    done_ += tensor.bytes.size();
    if (progress_) progress_(done_, total_);
    return weight;
  }

  const Checkpoint& checkpoint_;
  Backend& backend_;
  const LoadProgress& progress_;
  uint64_t done_ = 0, total_ = 0;
};

class Decoder final : public Model {
 public:
  Decoder(const Architecture& architecture, ModelConfig config, const Checkpoint& checkpoint, Backend& backend,
          const LoadProgress& progress);

  const ModelConfig& config() const override { return config_; }
  void forward(const Batch& batch) override;

 private:
  void load_layer(const Architecture& architecture, int index, Loader& loader);
  void forward_layer(const Layer& layer, int index);

  ModelConfig config_;
  Backend& backend_;
  WeightHandle embeddings_;   // [vocabulary, hidden]
  WeightHandle output_norm_;  // [1, hidden]
  WeightHandle output_;       // [vocabulary, hidden], or nullptr: tied
  std::vector<Layer> layers_;

  ActivationHandle x_;          // [rows, hidden] the residual stream
  ActivationHandle normed_;     // [rows, hidden]
  ActivationHandle q_;          // [rows, heads * head_dim]
  ActivationHandle attention_;  // [rows, heads * head_dim]
  ActivationHandle gated_;      // [rows, ffn]
};

Decoder::Decoder(const Architecture& architecture, ModelConfig config, const Checkpoint& checkpoint, Backend& backend,
                 const LoadProgress& progress)
    : config_(std::move(config)), backend_(backend) {
  Loader loader(checkpoint, backend, progress);
  embeddings_ = loader.matrix("token_embd.weight", config_.vocabulary, config_.hidden,
                              config_.tied_embeddings ? WeightUse::kTied : WeightUse::kEmbedding);
  layers_.resize(static_cast<size_t>(config_.layers));
  // The largest matrices first: while one is loaded, its file pages are resident beside its packed form.
  if (!config_.tied_embeddings) output_ = loader.matrix("output.weight", config_.vocabulary, config_.hidden);
  for (int i = 0; i < config_.layers; ++i) load_layer(architecture, i, loader);
  output_norm_ = loader.vector("output_norm.weight", config_.hidden);
  loader.finish();

  const int attention_width = config_.attention.heads * config_.attention.head_dim;
  x_ = backend.make_activation(config_.hidden, ActivationUse::kResidual);
  normed_ = backend.make_activation(config_.hidden, ActivationUse::kOperand);
  q_ = backend.make_activation(attention_width, ActivationUse::kQuery);
  attention_ = backend.make_activation(attention_width, ActivationUse::kOperand);
  gated_ = backend.make_activation(config_.ffn, ActivationUse::kOperand);
}

void Decoder::load_layer(const Architecture& architecture, int index, Loader& loader) {
  const AttentionShape& shape = config_.attention;
  const int64_t hidden = config_.hidden, ffn = config_.ffn;
  const int64_t q_width = int64_t{shape.heads} * shape.head_dim, kv_width = int64_t{shape.kv_heads} * shape.head_dim;
  const std::string prefix = fmt::format("blk.{}.", index);
  Layer& layer = layers_[static_cast<size_t>(index)];
  layer.attention_norm = loader.vector(prefix + "attn_norm.weight", hidden);
  layer.q = loader.matrix(prefix + "attn_q.weight", q_width, hidden);
  layer.k = loader.matrix(prefix + "attn_k.weight", kv_width, hidden);
  layer.v = loader.matrix(prefix + "attn_v.weight", kv_width, hidden);
  if (architecture.qkv_bias) {
    layer.q_bias = loader.vector(prefix + "attn_q.bias", q_width);
    layer.k_bias = loader.vector(prefix + "attn_k.bias", kv_width);
    layer.v_bias = loader.vector(prefix + "attn_v.bias", kv_width);
  }
  layer.attention_output = loader.matrix(prefix + "attn_output.weight", hidden, q_width);
  layer.ffn_norm = loader.vector(prefix + "ffn_norm.weight", hidden);
  layer.gate = loader.matrix(prefix + "ffn_gate.weight", ffn, hidden);
  layer.up = loader.matrix(prefix + "ffn_up.weight", ffn, hidden);
  layer.down = loader.matrix(prefix + "ffn_down.weight", hidden, ffn);
}

void Decoder::forward_layer(const Layer& layer, int index) {
  Backend& backend = backend_;
  const float epsilon = config_.norm_epsilon;
  const QkvWeights qkv{.q = layer.q.get(),
                       .k = layer.k.get(),
                       .v = layer.v.get(),
                       .q_bias = layer.q_bias.get(),
                       .k_bias = layer.k_bias.get(),
                       .v_bias = layer.v_bias.get()};

  // Attention: x += Wo · attention(norm(x))
  backend.rms_norm(*x_, *layer.attention_norm, epsilon, false, *normed_);              // [rows, hidden]
  backend.qkv_rope_store(*normed_, qkv, config_.attention, config_.rope, index, *q_);  // [rows, heads * head_dim]
  backend.paged_attention(*q_, config_.attention, config_.attention_options, index,
                          *attention_);                                      // [rows, heads * head_dim]
  backend.linear(*attention_, *layer.attention_output, nullptr, true, *x_);  // [rows, hidden]

  // Feed-forward: x += Wdown · (silu(Wgate · norm(x)) * (Wup · norm(x)))
  backend.rms_norm(*x_, *layer.ffn_norm, epsilon, false, *normed_);                     // [rows, hidden]
  backend.gated_mlp(*normed_, *layer.gate, *layer.up, GateActivation::kSilu, *gated_);  // [rows, ffn]
  backend.linear(*gated_, *layer.down, nullptr, true, *x_);                             // [rows, hidden]
}

void Decoder::forward(const Batch& batch) {
  backend_.begin_step(batch);
  backend_.embed(*embeddings_, config_.embedding_scale, *x_);  // [rows, hidden]
  for (int i = 0; i < config_.layers; ++i) forward_layer(layers_[static_cast<size_t>(i)], i);
  if (!batch.output_rows.empty()) {
    const Weight& head = output_ ? *output_ : *embeddings_;
    backend_.logits(*x_, *output_norm_, config_.norm_epsilon, head, config_.logit_soft_cap);  // [outputs, vocabulary]
  }
  backend_.wait();
}

Rope::Pairing read_pairing(const Checkpoint& checkpoint, Rope::Pairing pairing) {
  const std::optional<std::string> name = checkpoint.string("carronade.rope.pairing");
  if (!name) return pairing;
  if (*name == "halves") return Rope::Pairing::kHalves;
  if (*name == "neighbours") return Rope::Pairing::kNeighbours;
  throw_error(ErrorCode::kCorruptFile, "{}: carronade.rope.pairing is \"{}\", which is neither halves nor neighbours",
              checkpoint.path().string(), *name);
}

Rope read_rope(const Checkpoint& checkpoint, const ModelMetadata& metadata, int head_dim, Rope::Pairing pairing) {
  Rope rope;
  rope.pairing = read_pairing(checkpoint, pairing);
  rope.dimensions = metadata.integer_or("rope.dimension_count", head_dim, 0, head_dim);
  if (rope.dimensions % 2 != 0) {
    throw_error(ErrorCode::kCorruptFile, "{}: rope.dimension_count is {}, which is odd", checkpoint.path().string(),
                rope.dimensions);
  }
  rope.base = metadata.real_or("rope.freq_base", 10000.0f, 1.0, 1e12);
  const std::string scaling = metadata.string_or("rope.scaling.type", "none");
  if (scaling == "linear") {
    const float factor = metadata.real("rope.scaling.factor", 1e-3, 1e6);
    rope.frequency_scale.assign(static_cast<size_t>(rope.dimensions / 2), 1.0f / factor);
  } else if (scaling != "none") {
    throw_error(ErrorCode::kUnsupported, "{}: rope scaling \"{}\" is not supported (none, linear and llama3 are)",
                checkpoint.path().string(), scaling);
  }
  return rope;
}

}  // namespace

ModelConfig read_decoder_config(const Checkpoint& checkpoint, Rope::Pairing pairing) {
  const ModelMetadata metadata(checkpoint);
  ModelConfig config;
  config.architecture = checkpoint.architecture();
  config.name = checkpoint.string("general.name").value_or("");
  config.layers = metadata.integer("block_count", 1, 1024);
  config.hidden = metadata.integer("embedding_length", 1, 1 << 17);
  config.ffn = metadata.integer("feed_forward_length", 1, 1 << 20);
  config.context_length = metadata.integer("context_length", 1, 1 << 28);
  config.norm_epsilon = metadata.real("attention.layer_norm_rms_epsilon", 0.0, 1.0);

  AttentionShape& shape = config.attention;
  shape.heads = metadata.integer("attention.head_count", 1, 4096);
  shape.kv_heads = metadata.integer_or("attention.head_count_kv", shape.heads, 1, shape.heads);
  if (shape.heads % shape.kv_heads != 0) {
    throw_error(ErrorCode::kCorruptFile, "{}: {} heads cannot share {} KV heads", checkpoint.path().string(),
                shape.heads, shape.kv_heads);
  }
  shape.head_dim = metadata.integer_or("attention.key_length", config.hidden / shape.heads, 1, 1024);
  if (shape.head_dim * shape.heads != config.hidden &&
      !checkpoint.integer(config.architecture + ".attention.key_length")) {
    throw_error(ErrorCode::kCorruptFile, "{}: a width of {} does not divide into {} heads", checkpoint.path().string(),
                config.hidden, shape.heads);
  }
  if (metadata.integer_or("attention.value_length", shape.head_dim, 1, 1024) != shape.head_dim) {
    throw_error(ErrorCode::kUnsupported, "{}: keys and values of different lengths are not supported",
                checkpoint.path().string());
  }
  config.rope = read_rope(checkpoint, metadata, shape.head_dim, pairing);

  const TensorView& table = checkpoint.require("token_embd.weight", std::array<int64_t, 2>{kNoRow, config.hidden});
  if (table.rows() < 2 || table.rows() > (1 << 24)) {
    throw_error(ErrorCode::kCorruptFile, "{}: a vocabulary of {} tokens cannot be", checkpoint.path().string(),
                table.rows());
  }
  config.vocabulary = static_cast<int>(table.rows());
  config.tied_embeddings = !checkpoint.find("output.weight");
  return config;
}

std::unique_ptr<Model> load_decoder(const Architecture& architecture, const Checkpoint& checkpoint, Backend& backend,
                                    const LoadProgress& progress) {
  return std::make_unique<Decoder>(architecture, architecture.read_config(checkpoint), checkpoint, backend, progress);
}

}  // namespace carronade
