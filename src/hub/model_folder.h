// A folder that holds models.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace carronade {

struct FolderModel {
  std::string name;            // no two in a folder share it
  std::filesystem::path path;  // a GGUF file (the first of a split one), or a folder of safetensors
};

// A folder of safetensors as published, not one of several models.
bool is_one_model(const std::filesystem::path& folder);

// What is in there, three folders deep, by name: GGUF files under theirs without ".gguf", folders of safetensors under
// the folder's, and what this program has fetched under the name it was fetched by. Those of one name are told apart by
// the folders they are in, and where that does not do, by ".gguf". Links are followed, and count under their own names.
// Files are not opened. Throws Error{kNotFound} when it is no folder.
std::vector<FolderModel> models_in(const std::filesystem::path& folder);

}  // namespace carronade
