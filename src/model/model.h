// The transformer, written once in backend ops; one file an architecture.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "checkpoint/checkpoint.h"

namespace carronade {

// What every decoder of the llama family needs to know, read from a checkpoint's metadata. Names as in the papers.
struct ModelConfig {
  std::string architecture;  // "qwen2"
  std::string name;          // general.name, for people
  int layers = 0;
  int hidden = 0;  // width of the residual stream
  int ffn = 0;     // width of the gated MLP
  int vocabulary = 0;
  int context_length = 0;  // positions it was trained for
  AttentionShape attention;
  AttentionOptions attention_options;
  Rope rope;
  float norm_epsilon = 1e-6f;
  float embedding_scale = 1.0f;
  float logit_soft_cap = 0.0f;
  bool tied_embeddings = false;  // no output.weight: the embedding table is the output matrix
};

// Throws Error{kUnsupported} naming an unknown architecture and those supported, Error{kCorruptFile} for values that
// cannot be.
ModelConfig read_model_config(const Checkpoint& checkpoint);
std::vector<std::string> supported_architectures();

// Called while loading, on the loading thread, with the weights' bytes done and in all.
using LoadProgress = std::function<void(uint64_t done, uint64_t total)>;

// Weights on a backend and the order of ops over them. Immutable after load; forward() belongs to the engine's thread.
class Model {
 public:
  // The checkpoint's tensors are copied into the backend's layout; the checkpoint may be closed afterwards. The backend
  // must outlive the model.
  static std::unique_ptr<Model> load(const Checkpoint& checkpoint, Backend& backend, const LoadProgress& progress = {});

  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  KvLayout kv_layout(DType dtype) const;

  // One step: begin_step, every layer, logits for the output rows, wait. Results are read from the backend.
  virtual void forward(const Batch& batch) = 0;
};

}  // namespace carronade
