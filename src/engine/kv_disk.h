// KV blocks in files, so that a conversation need not be read again after an eviction or a restart.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "engine/cold_blocks.h"

namespace carronade {

struct KvDiskOptions {
  std::filesystem::path directory;      // made if it is not there; one for all models
  uint64_t capacity = 0;                // bytes of all files in it
  std::string model;                    // names the weights: no two models share it
  std::vector<std::string> adapters{};  // likewise, by their numbers
};

struct KvDiskStats {
  uint64_t bytes = 0, blocks = 0;
  uint64_t written = 0, read = 0, damaged = 0, dropped = 0;  // blocks since the start
};

// One file a block, named by its digest, written beside and renamed, with a checksum: whatever is not exactly what was
// written is a miss, never an answer. The files used longest ago go first when the capacity is reached. Files are
// written on a thread of its own; everything else happens on the engine's thread. A full disk or a folder that cannot
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
  struct File {
    std::string name;  // the digest in hexadecimal
    uint64_t bytes = 0;
    bool trusted = false;  // written or read in this run: its content is known to be whole
    bool used = false;     // read since it was last put in its place: it is put behind the others when next given up
  };
  using Files = std::list<File>;  // used longest ago first
  struct Job {
    std::string name;
    std::string content;
  };
  enum class Written { kYes, kNo, kNoSpace };

  void find_files();
  void write_queue();
  Written write_file(const Job& job);
  void add_file(std::string name, uint64_t bytes, bool trusted);  // under mutex_
  void make_room(uint64_t bytes);                                 // under mutex_
  void remove_oldest();                                           // under mutex_
  void use(File& file);                                           // under mutex_
  void forget(const std::string& name);                           // under mutex_
  std::filesystem::path path_of(const std::string& name) const;

  KvDiskOptions options_;
  Backend& backend_;
  size_t block_bytes_;
  BlockDigest model_digest_;
  std::vector<std::byte> buffer_;  // of load() and save()
  bool patient_ = false;
  bool has_warned_ = false;  // of a file that could not be written; the writer's

  mutable std::mutex mutex_;  // what follows
  std::condition_variable changed_;
  Files files_;
  std::unordered_map<std::string, Files::iterator> by_name_;
  std::deque<Job> queue_;
  size_t queued_bytes_ = 0;
  KvDiskStats stats_;
  bool ending_ = false;

  std::thread writer_;  // last: everything is there when it starts
};

}  // namespace carronade
