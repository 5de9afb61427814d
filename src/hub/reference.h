// What a user may write where a model is wanted.
//
//   smollm2-135m                                  a name of the catalogue, or an alias
//   (a repository's own name is its published weights, as with vLLM, even where the catalogue has a quantization of it)
//   org/repo   org/repo:Q8_0   org/repo:file.gguf   org/repo@revision:…    the Hugging Face hub (or $HF_ENDPOINT)
//   hf.co/org/repo…   https://huggingface.co/org/repo/blob/main/file.gguf    the same, spelled out
//   modelscope.cn/org/repo…                       ModelScope
//   https://host/path/model.gguf                  any server
//   ./model.gguf   /models/folder                 this machine; wins over all others when it exists
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "hub/catalogue.h"

namespace carronade {

struct ModelReference {
  enum class Kind { kCatalogue, kHub, kUrl, kPath };

  Kind kind = Kind::kPath;
  std::string name;  // canonical: the same model has the same name however it was written, and a folder of its own
  const CatalogueEntry* entry = nullptr;  // kCatalogue

  HubKind hub = HubKind::kHuggingFace;  // kHub
  std::string repository;
  std::string revision;                       // a branch, tag or commit; empty: the hub's usual one
  std::string selector;                       // a file, or a quantization such as Q4_K_M; empty: choose
  const CatalogueEntry* quantized = nullptr;  // kHub: what the catalogue has made of this repository's weights

  std::string url;             // kUrl
  std::filesystem::path path;  // kPath
};

// Throws Error{kInvalidArgument | kNotFound} that says what would be right. Looks at the file system, never at the
// network.
ModelReference parse_reference(std::string_view text, const Catalogue& catalogue);

// The same repository at a branch, tag or commit. A path has none, and stays as it is. Throws Error{kInvalidArgument}
// where the reference names another revision, or no repository.
ModelReference with_revision(ModelReference reference, std::string_view revision);

}  // namespace carronade
