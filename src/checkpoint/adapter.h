// Low-rank adapters as published. Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace carronade {

// y = W x becomes y = W x + scale · B (A x).
struct AdapterPart {
  std::string target;  // GGUF's name of W: "blk.0.attn_q.weight"
  TensorView a;        // [rank, columns of W]
  TensorView b;        // [rows of W, rank]
  float scale = 1.0f;
};

// Immutable once opened; the parts' bytes are views into its mapped file.
class AdapterFile {
 public:
  // A GGUF file (general.type "adapter"), or a folder that PEFT saved (adapter_config.json, adapter_model.safetensors).
  // `architecture` is the base model's. Throws Error{kNotFound | kCorruptFile | kUnsupported}: one line that names the
  // file and what in it cannot be done.
  static std::shared_ptr<const AdapterFile> open(const std::filesystem::path& path, std::string_view architecture);

  const std::filesystem::path& path() const { return path_; }
  const std::vector<AdapterPart>& parts() const { return parts_; }  // at least one

  // The rows of q and k are in the published order, where the halves of a head rotate together; in GGUF's llama files
  // they are permuted as that format permutes the weights.
  bool has_published_rows() const { return has_published_rows_; }

 private:
  AdapterFile() = default;
  void read_gguf(std::string_view architecture);
  void read_peft(std::string_view architecture);
  void check() const;

  std::filesystem::path path_;
  std::shared_ptr<const Checkpoint> gguf_;   // of a GGUF file
  std::unique_ptr<MappedFile> safetensors_;  // of a PEFT folder
  std::vector<AdapterPart> parts_;
  bool has_published_rows_ = false;
};

}  // namespace carronade
