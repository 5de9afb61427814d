#include "model/model.h"

#include "base/error.h"
#include "model/architecture.h"

namespace carronade {
namespace {

const Architecture* const kArchitectures[] = {&kQwen2, &kQwen3, &kLlama, &kMistral, &kGemma3, &kBert};

const Architecture& find_architecture(const Checkpoint& checkpoint) {
  const std::string name = checkpoint.architecture();
  for (const Architecture* architecture : kArchitectures) {
    if (architecture->name == name) return *architecture;
  }
  throw Error(ErrorCode::kUnsupported,
              fmt::format("{}: the architecture \"{}\" is not supported ({} are)", checkpoint.path().string(), name,
                          fmt::join(supported_architectures(), ", ")),
              "general.architecture");
}

}  // namespace

std::vector<std::string> supported_architectures() {
  std::vector<std::string> names;
  for (const Architecture* architecture : kArchitectures) names.emplace_back(architecture->name);
  return names;
}

ModelConfig read_model_config(const Checkpoint& checkpoint) {
  return find_architecture(checkpoint).read_config(checkpoint);
}

std::unique_ptr<Model> Model::load(const Checkpoint& checkpoint, Backend& backend, const LoadProgress& progress) {
  const Architecture& architecture = find_architecture(checkpoint);
  return architecture.load(architecture.read_config(checkpoint), checkpoint, backend, progress);
}

KvLayout Model::kv_layout(DType dtype) const {
  const ModelConfig& c = config();
  return {.layers = c.encoder ? 1 : c.layers,
          .kv_heads = c.attention.kv_heads,
          .head_dim = c.attention.head_dim,
          .dtype = c.encoder ? DType::kF32 : dtype};
}

}  // namespace carronade
