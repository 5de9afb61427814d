// Checkpoints as published: a folder with config.json, safetensors files and the tokenizer's files. Rooms above use
// Checkpoint::open().
#pragma once

#include <filesystem>
#include <memory>

#include "checkpoint/checkpoint.h"

namespace carronade {

// `path` is the folder, or one of its .safetensors files. Besides config.json and the weights (model.safetensors, or
// the files that model.safetensors.index.json names) it reads, where they are, generation_config.json, tokenizer.json,
// tokenizer_config.json, chat_template.jinja (or .json) and 1_Pooling/config.json. Throws like Checkpoint::open().
std::shared_ptr<const Checkpoint> open_safetensors(const std::filesystem::path& path);

}  // namespace carronade
