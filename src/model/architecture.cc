#include "model/architecture.h"

#include <array>

#include "base/error.h"
#include "model/metadata.h"

namespace carronade {
namespace {

constexpr int kAnyExtent = -1;  // for Checkpoint::require

void read_attention_shape(const Checkpoint& checkpoint, const ModelMetadata& metadata, ModelConfig& config) {
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
}

int read_vocabulary(const Checkpoint& checkpoint, int hidden) {
  const TensorView& table = checkpoint.require("token_embd.weight", std::array<int64_t, 2>{kAnyExtent, hidden});
  if (table.rows() < 2 || table.rows() > (1 << 24)) {
    throw_error(ErrorCode::kCorruptFile, "{}: a vocabulary of {} tokens cannot be", checkpoint.path().string(),
                table.rows());
  }
  return static_cast<int>(table.rows());
}

// GGUF's numbers: 0 not said, 1 mean, 2 first, 3 last, 4 a score for a pair of texts.
Pooling read_pooling(const Checkpoint& checkpoint, const ModelMetadata& metadata, Pooling fallback) {
  switch (metadata.integer_or("pooling_type", 0, 0, 4)) {
    case 0:
      return fallback;
    case 1:
      return Pooling::kMean;
    case 2:
      return Pooling::kFirst;
    case 3:
      return Pooling::kLast;
    default:
      throw_error(ErrorCode::kUnsupported, "{}: models that rank texts (pooling_type 4) are not supported",
                  checkpoint.path().string());
  }
}

}  // namespace

ModelConfig read_common_config(const Checkpoint& checkpoint, Pooling pooling) {
  const ModelMetadata metadata(checkpoint);
  ModelConfig config;
  config.architecture = checkpoint.architecture();
  config.name = checkpoint.string("general.name").value_or("");
  config.layers = metadata.integer("block_count", 1, 1024);
  config.hidden = metadata.integer("embedding_length", 1, 1 << 17);
  config.ffn = metadata.integer("feed_forward_length", 1, 1 << 20);
  config.context_length = metadata.integer("context_length", 1, 1 << 28);
  read_attention_shape(checkpoint, metadata, config);
  config.vocabulary = read_vocabulary(checkpoint, config.hidden);
  config.pooling = read_pooling(checkpoint, metadata, pooling);
  return config;
}

}  // namespace carronade
