// KV blocks in files, so that a conversation need not be read again after an eviction or a restart.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "engine/cold_blocks.h"
#include "engine/kv_folder.h"

namespace carronade {

struct KvDiskOptions {
  std::filesystem::path directory;      // made if it is not there; one for all models
  uint64_t capacity = 0;                // bytes of all files in it
  std::string model;                    // names the weights: no two models share it
  std::vector<std::string> adapters{};  // likewise, by their numbers
  std::shared_ptr<KvFolder> folder{};   // in place of directory and capacity: shared with other engines
};

struct KvDiskStats {
  uint64_t bytes = 0, blocks = 0;                            // of the whole folder
  uint64_t written = 0, read = 0, damaged = 0, dropped = 0;  // blocks since the start
};

// One file a block, named by its digest, written beside and renamed, with a checksum: whatever is not exactly what was
// written is a miss, never an answer. Files are written on a thread of its own; everything else happens on the engine's
// thread. A full disk or a folder that cannot
// be written costs the cache and nothing else.
class KvDisk final : public ColdBlocks {
 public:
  // The backend outlives it, its KV cache was allocated with `layout`. Throws Error{kIo} when the folder cannot be
  // made.
  KvDisk(KvDiskOptions options, Backend& backend, const KvLayout& layout);
  ~KvDisk() override;  // when everything handed over has been written

  BlockDigest root(const PrefixScope& scope) const override;
  BlockDigest next(const BlockDigest& parent, Tokens tokens) const override;
  bool load(const BlockDigest& digest, Tokens tokens, BlockId into) override;
  void save(const BlockDigest& digest, Tokens tokens, BlockId from) override;

  // From now on save() waits for the disk instead of giving up blocks when it is slow: for a shutdown.
  void be_patient() { patient_ = true; }

  KvDiskStats stats() const;  // from any thread

 private:
  struct Job {
    std::string name;
    std::string content;
  };
  enum class Written { kYes, kNo, kNoSpace };

  void write_queue();
  Written write_file(const Job& job);

  KvDiskOptions options_;
  std::shared_ptr<KvFolder> folder_;
  Backend& backend_;
  size_t block_bytes_;
  BlockDigest model_digest_;
  std::vector<std::byte> buffer_;  // of load() and save()
  bool patient_ = false;
  bool has_warned_ = false;  // of a file that could not be written; the writer's

  mutable std::mutex mutex_;  // what follows
  std::condition_variable changed_;
  std::deque<Job> queue_;
  size_t queued_bytes_ = 0;
  KvDiskStats stats_;
  bool ending_ = false;

  std::thread writer_;  // last: everything is there when it starts
};

}  // namespace carronade
