#include "checkpoint/adapter.h"

#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "checkpoint/byte_cursor.h"
#include "checkpoint/json_file.h"
#include "checkpoint/published_config.h"
#include "checkpoint/safetensors_file.h"

namespace carronade {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Halves {
  std::optional<TensorView> a, b;
};

// Every A needs its B.
std::vector<AdapterPart> pair_up(std::map<std::string, Halves>& found, const std::string& file) {
  std::vector<AdapterPart> parts;
  for (auto& [target, halves] : found) {
    if (!halves.a || !halves.b) {
      throw_error(ErrorCode::kCorruptFile, "{}: the adapter of {} has only one of its two matrices", file,
                  printable(target));
    }
    parts.push_back({target, std::move(*halves.a), std::move(*halves.b), 1.0f});
  }
  return parts;
}

// "blk.0.attn_q.weight" of "blk.0.attn_q.weight.lora_a".
bool take_suffix(std::string_view& name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return false;
  name.remove_suffix(suffix.size());
  return true;
}

// What PEFT can do and we do not would change the answer in silence.
void refuse_what_is_not_plain_lora(const json& config, const std::string& file) {
  const auto refuse = [&](const char* key, const std::string& what) {
    throw Error(ErrorCode::kUnsupported, fmt::format("{}: {} is not supported: {}", file, key, what), key);
  };
  if (const std::string type = config.value("peft_type", std::string("LORA")); type != "LORA")
    refuse("peft_type", fmt::format("{}; only LORA is", printable(type)));
  for (const char* key : {"use_dora", "fan_in_fan_out", "lora_bias", "alora_invocation_tokens"}) {
    const auto found = config.find(key);
    if (found != config.end() && !found->is_null() && *found != false) refuse(key, "it must be false");
  }
  for (const char* key : {"rank_pattern", "alpha_pattern", "modules_to_save", "layer_replication",
                          "trainable_token_indices", "target_parameters"}) {
    const auto found = config.find(key);
    if (found != config.end() && !found->is_null() && !found->empty()) refuse(key, "it must be empty");
  }
  if (const std::string bias = config.value("bias", std::string("none")); bias != "none")
    refuse("bias", fmt::format("{}; only none is", printable(bias)));
}

float peft_scale(const json& config, const std::string& file) {
  const auto alpha = config.find("lora_alpha"), rank = config.find("r");
  if (alpha == config.end() || !alpha->is_number() || rank == config.end() || !rank->is_number_integer() ||
      rank->get<int64_t>() < 1) {
    throw_error(ErrorCode::kCorruptFile, "{}: needs numbers \"lora_alpha\" and \"r\"", file);
  }
  const auto root = config.find("use_rslora");
  const bool by_root = root != config.end() && root->is_boolean() && root->get<bool>();
  const double r = rank->get<double>();
  return static_cast<float>(alpha->get<double>() / (by_root ? std::sqrt(r) : r));
}

}  // namespace

std::shared_ptr<const AdapterFile> AdapterFile::open(const fs::path& path, std::string_view architecture) {
  std::shared_ptr<AdapterFile> adapter(new AdapterFile());
  adapter->path_ = path;
  if (fs::is_directory(path)) {
    adapter->read_peft(architecture);
  } else {
    adapter->read_gguf(architecture);
  }
  adapter->check();
  return adapter;
}

void AdapterFile::read_gguf(std::string_view architecture) {
  const std::string file = path_.string();
  gguf_ = Checkpoint::open(path_);
  const std::string type = gguf_->string("general.type").value_or("model");
  const std::string kind = gguf_->string("adapter.type").value_or("");
  if (type != "adapter" || kind != "lora") {
    throw_error(ErrorCode::kUnsupported,
                "{}: is no LoRA adapter: general.type is \"{}\" and adapter.type \"{}\", where \"adapter\" and "
                "\"lora\" were expected",
                file, printable(type), printable(kind));
  }
  if (gguf_->architecture() != architecture) {
    throw_error(ErrorCode::kUnsupported, "{}: is an adapter for {} models, and this is a {} model", file,
                printable(gguf_->architecture()), architecture);
  }
  std::map<std::string, Halves> found;
  for (const TensorView& tensor : gguf_->tensors()) {
    std::string_view target = tensor.name;
    if (take_suffix(target, ".lora_a")) {
      found[std::string(target)].a = tensor;
    } else if (take_suffix(target, ".lora_b")) {
      found[std::string(target)].b = tensor;
    } else {
      throw_error(ErrorCode::kUnsupported, "{}: tensor {} is not of a LoRA adapter", file, printable(tensor.name));
    }
  }
  parts_ = pair_up(found, file);
  const double alpha = gguf_->real("adapter.lora.alpha").value_or(0.0);
  for (AdapterPart& part : parts_) {
    // As llama.cpp has it: no alpha, no scaling.
    if (alpha != 0.0) part.scale = static_cast<float>(alpha / static_cast<double>(part.a.rows()));
  }
}

void AdapterFile::read_peft(std::string_view architecture) {
  const fs::path config_file = path_ / "adapter_config.json", weights_file = path_ / "adapter_model.safetensors";
  const std::optional<json> config = read_json_object(config_file);
  if (!config) {
    throw_error(ErrorCode::kNotFound, "{}: has no adapter_config.json, so it is no adapter that PEFT saved",
                path_.string());
  }
  refuse_what_is_not_plain_lora(*config, config_file.string());
  const float scale = peft_scale(*config, config_file.string());
  safetensors_ = std::make_unique<MappedFile>(weights_file);
  const std::string file = weights_file.string();
  std::map<std::string, Halves> found;
  for (const SafetensorsEntry& entry : parse_safetensors(safetensors_->bytes(), file)) {
    std::string_view name = entry.name;
    if (name.starts_with("base_model.model.")) name.remove_prefix(std::string_view("base_model.model.").size());
    const bool is_a = take_suffix(name, ".lora_A.weight");
    const std::string target = is_a || take_suffix(name, ".lora_B.weight")
                                   ? translate_tensor_name(architecture, std::string(name) + ".weight")
                                   : std::string();
    const std::optional<DType> dtype = dtype_of_name(entry.dtype);
    if (target.empty() || !dtype || !is_float(*dtype)) {
      throw_error(ErrorCode::kUnsupported, "{}: tensor {} of {} does not belong to a LoRA adapter of a {} model", file,
                  printable(entry.name), printable(entry.dtype), architecture);
    }
    (is_a ? found[target].a : found[target].b) =
        TensorView{entry.name, *dtype, entry.shape, entry.bytes, safetensors_.get()};
  }
  parts_ = pair_up(found, file);
  for (AdapterPart& part : parts_) part.scale = scale;
  has_published_rows_ = true;
}

void AdapterFile::check() const {
  const std::string file = path_.string();
  if (parts_.empty()) throw_error(ErrorCode::kCorruptFile, "{}: holds no matrices", file);
  for (const AdapterPart& part : parts_) {
    const bool flat = part.a.shape.size() == 2 && part.b.shape.size() == 2;
    if (!flat || part.a.shape[0] != part.b.shape[1]) {
      throw_error(ErrorCode::kCorruptFile, "{}: the two matrices of {} do not fit together", file,
                  printable(part.target));
    }
    if (!std::isfinite(part.scale)) throw_error(ErrorCode::kCorruptFile, "{}: its scale is not a number", file);
  }
}

}  // namespace carronade
