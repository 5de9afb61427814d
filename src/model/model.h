// The transformer, written once in backend ops; one file an architecture.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "checkpoint/adapter.h"
#include "checkpoint/checkpoint.h"

namespace carronade {

// What a model needs to know, read from a checkpoint's metadata. Names as in the papers.
struct ModelConfig {
  std::string architecture;  // "qwen2"
  std::string name;          // general.name, for people
  bool encoder = false;      // reads a whole text at once and makes vectors (embed), not text (forward)
  int layers = 0;
  int hidden = 0;  // width of the residual stream
  int ffn = 0;     // width of the MLP
  int vocabulary = 0;
  int context_length = 0;  // positions it was trained for
  AttentionShape attention;
  AttentionOptions attention_options;
  Rope rope;
  // Layers that see a sliding window only, and may be rotated otherwise. Empty: none.
  std::vector<bool> local_layers;  // [layers]
  AttentionOptions local_attention_options;
  Rope local_rope;

  GateActivation gate = GateActivation::kSilu;
  float norm_epsilon = 1e-6f;
  bool norm_plus_one = false;  // the file's norm weights lack the 1 that is added to them
  bool qk_norm = false;        // each head of q and k is normed before rotation
  bool post_norms = false;     // what attention and the MLP made is normed before it joins the residual stream
  bool qkv_bias = false;       // q, k and v must have biases; otherwise they may
  float embedding_scale = 1.0f;
  float logit_soft_cap = 0.0f;
  bool tied_embeddings = false;      // no output.weight: the embedding table is the output matrix
  Pooling pooling = Pooling::kLast;  // of embed()

  bool is_local(int layer) const { return !local_layers.empty() && local_layers[static_cast<size_t>(layer)]; }
};

// Throws Error{kUnsupported} naming an unknown architecture and those supported, Error{kCorruptFile} for values that
// cannot be.
ModelConfig read_model_config(const Checkpoint& checkpoint);
std::vector<std::string> supported_architectures();

// Called while loading, on the loading thread, with the weights' bytes done and in all.
using LoadProgress = std::function<void(uint64_t done, uint64_t total)>;

// Weights on a backend and the order of ops over them. Immutable after load; forward() and embed() belong to the
// engine's thread.
class Model {
 public:
  // The checkpoint's tensors are copied into the backend's layout; the checkpoint may be closed afterwards. The backend
  // must outlive the model. Throws Error{kCorruptFile} for tensors that are missing or misshapen, Error{kUnsupported}
  // for a layer's tensor that this architecture would leave unused: the answer would not be the model's.
  static std::unique_ptr<Model> load(const Checkpoint& checkpoint, Backend& backend, const LoadProgress& progress = {});

  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;

  // An encoder's keys and values are needed within a step only: its layers share the space of one, in float.
  KvLayout kv_layout(DType dtype) const;

  // From now on rows of sequences that name `adapter` get what the file adds. Before the first step. Throws
  // Error{kUnsupported | kCorruptFile} when the file is not for this model, naming the matrix.
  void load_adapter(int adapter, const AdapterFile& file);

  // One step: begin_step, every layer, logits for the output rows, wait. Results are read from the backend.
  // Throws Error{kUnsupported} for an encoder.
  virtual void forward(const Batch& batch) = 0;

  // One step that ends in a vector a sequence (Backend::read_pooled): the last layer's rows, pooled as config().pooling
  // says, not normalized. Each sequence must be in the batch whole, from position 0 on.
  virtual void embed(const Batch& batch) = 0;

 protected:
  explicit Model(Backend& backend) : backend_(backend) {}

  // The weight that an adapter calls by GGUF's name, or nullptr when none of this name is multiplied by.
  virtual const Weight* adapted_weight(std::string_view name) const = 0;

  Backend& backend_;
};

}  // namespace carronade
