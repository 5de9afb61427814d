// GGUF files as a Checkpoint. Rooms above use Checkpoint::open(); this header is for the checkpoint room, its tests and
// its fuzzer.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

#include "checkpoint/checkpoint.h"
#include "checkpoint/gguf_parser.h"

namespace carronade {

// `path` is a file or the first part of a split one (`…-00001-of-0000N.gguf`), whose other parts lie beside it.
std::shared_ptr<const Checkpoint> open_gguf(const std::filesystem::path& path, TensorData data = TensorData::kPresent);

// A file that is already in memory; `bytes` must outlive the checkpoint, and its views have no MappedFile. `name` is
// for errors.
std::shared_ptr<const Checkpoint> open_gguf_bytes(std::span<const std::byte> bytes, const std::filesystem::path& name);

}  // namespace carronade
