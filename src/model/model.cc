#include "model/model.h"

#include "base/error.h"
#include "model/decoder.h"

namespace carronade {
namespace {

const Architecture* const kArchitectures[] = {&kQwen2, &kLlama};

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
  return load_decoder(find_architecture(checkpoint), checkpoint, backend, progress);
}

KvLayout Model::kv_layout(DType dtype) const {
  return {.layers = config().layers,
          .kv_heads = config().attention.kv_heads,
          .head_dim = config().attention.head_dim,
          .dtype = dtype};
}

}  // namespace carronade
