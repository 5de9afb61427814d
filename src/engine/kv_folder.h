// The folder of KV blocks on disk: which files are there, and which go when it is full.
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>

namespace carronade {

// One for all engines of a process that keep blocks in the same folder; the files used longest ago go first when the
// capacity is reached, whosever they are. Thread-safe.
class KvFolder {
 public:
  // Throws Error{kIo} when the folder, or files in it, cannot be made. `capacity`: bytes of all files in it.
  KvFolder(std::filesystem::path directory, uint64_t capacity);
  KvFolder(const KvFolder&) = delete;
  KvFolder& operator=(const KvFolder&) = delete;

  uint64_t capacity() const { return capacity_; }
  std::filesystem::path path_of(const std::string& name) const { return directory_ / name; }
  // Where a file is written before it is renamed; no two calls give the same.
  std::filesystem::path part_of(const std::string& name);

  void find_files();  // of earlier runs; the first call does it

  bool has(const std::string& name);       // and puts it behind the others
  void was_read(const std::string& name);  // and was whole
  // True when the block need not be written: its file was written or read in this run. One that was read is put behind
  // the others now, since a conversation's blocks are given up from its last to its first.
  bool keep(const std::string& name);
  void add(const std::string& name, uint64_t bytes);  // it was written
  void remove(const std::string& name);               // its content is not what it should be
  void make_room(uint64_t bytes);
  bool remove_oldest();  // false: there is none

  uint64_t bytes() const;
  uint64_t blocks() const;

 private:
  struct File {
    std::string name;  // the digest in hexadecimal
    uint64_t bytes = 0;
    bool trusted = false;  // written or read in this run: its content is known to be whole
    bool used = false;     // read since it was last put in its place
  };
  using Files = std::list<File>;  // used longest ago first

  void insert(const std::string& name, uint64_t bytes, bool trusted);  // under mutex_
  void forget(const std::string& name);                                // under mutex_
  void drop_oldest();                                                  // under mutex_

  const std::filesystem::path directory_;
  const uint64_t capacity_;
  mutable std::mutex mutex_;  // what follows
  Files files_;
  std::unordered_map<std::string, Files::iterator> by_name_;
  uint64_t bytes_ = 0, parts_ = 0;
  bool looked_ = false;
};

}  // namespace carronade
