#include "hub/memory_need.h"

#include "base/error.h"
#include "model/model.h"

namespace carronade {

MemoryNeed memory_need(const Checkpoint& checkpoint, DType kv) {
  MemoryNeed need;
  for (const TensorView& tensor : checkpoint.tensors()) need.weights += tensor.bytes.size();
  try {
    const ModelConfig config = read_model_config(checkpoint);
    const KvLayout layout{.layers = config.layers,
                          .kv_heads = config.attention.kv_heads,
                          .head_dim = config.attention.head_dim,
                          .dtype = kv};
    need.kv_per_token = block_bytes(layout) / kBlockPositions;
  } catch (const Error& error) {
    if (error.code != ErrorCode::kUnsupported) throw;
  }
  return need;
}

}  // namespace carronade
