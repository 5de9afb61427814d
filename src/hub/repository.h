// What a hub says about a repository's files: the Hugging Face hub (and servers that speak its protocol) and
// ModelScope.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "hub/catalogue.h"

namespace carronade {

// One repository at one hub.
struct Repository {
  HubKind hub = HubKind::kHuggingFace;
  std::string endpoint;  // "https://huggingface.co", no slash at the end
  std::string token;     // empty: none
  std::string name;      // org/repo
  std::string revision;  // empty: the hub's usual one
};

// A file to fetch. At most one of the hashes is known from a listing; with neither, the answer's headers may still
// tell.
struct RemoteFile {
  std::string path;  // in the repository; checked to stay below the folder it is stored in
  std::string url;
  std::string token;
  std::optional<uint64_t> bytes;
  std::string sha256;         // lower case
  std::string git_blob_sha1;  // lower case
};

struct Timeouts {
  std::chrono::milliseconds connect{10'000};
  std::chrono::milliseconds answer{30'000};
};

// All files of the repository, in the hub's order; entries with unsafe names are left out. Throws HttpFailure, and
// Error{kUnavailable} when what answers is no hub (a login page of the network).
std::vector<RemoteFile> list_repository(const Repository& repository, const Timeouts& timeouts,
                                        const std::stop_token& stop);

// A file that no listing was asked for.
RemoteFile remote_file(const Repository& repository, std::string_view path);

// The files to fetch for `selector`: an exact file (all pieces of a split one), a quantization, or empty for the best
// choice: safetensors files as published, with configuration and tokenizer, else a GGUF file. The first is
// the one to open, or for safetensors, `config.json`. Throws Error{kNotFound} that lists what there is.
std::vector<RemoteFile> choose_files(const std::vector<RemoteFile>& files, std::string_view selector,
                                     std::string_view repository);

// The pieces of "x-00001-of-00003.gguf", in order; only itself for an ordinary name. Throws Error{kInvalidArgument} for
// a silly count.
std::vector<std::string> split_pieces(std::string_view path);

}  // namespace carronade
