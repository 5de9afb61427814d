// A file on its way: bytes are appended to `<target>.part`, hashed as they come, and become the target only when
// complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stop_token>
#include <string>

#include "hub/digest.h"

namespace carronade {

// What the bytes in a part file are the beginning of; kept beside it so that a later run knows whether it may go on.
struct PartIdentity {
  std::string sha256;  // of the whole file, when known: then any source of the same bytes may go on
  std::string source;  // otherwise a fingerprint of the address …
  std::string etag;    // … and the server's mark for this version of the file
  bool operator==(const PartIdentity&) const = default;
};

// Owned by one pull, on its thread, under the model's lock. Destruction keeps the part for the next run. All throw
// Error{kIo}; a full disk says so, and that the part is kept.
class PartFile {
 public:
  explicit PartFile(std::filesystem::path target);  // opens what an earlier run left, or an empty one
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  uint64_t size() const { return size_; }
  PartIdentity identity() const;  // as saved; empty when there is none
  void save_identity(const PartIdentity& identity);

  // Hashes what is there already; must come before append() when size() > 0. Throws Error{kCancelled}.
  void load_hash(const std::stop_token& stop);
  // Cuts back; the hash is that of what is left. load_hash() is included.
  void truncate(uint64_t size, const std::stop_token& stop);
  void append(std::span<const std::byte> bytes);

  std::string sha256() const { return digest_.hex(); }
  std::string git_blob_sha1(const std::stop_token& stop) const;  // of all bytes, read again
  std::string range_sha256(uint64_t begin, uint64_t bytes, const std::stop_token& stop) const;

  void commit();   // sync, rename to the target; the object is of no use afterwards
  void discard();  // removes part and identity; likewise

 private:
  std::filesystem::path identity_path() const;
  std::filesystem::path target_;
  std::filesystem::path part_;
  int fd_ = -1;
  uint64_t size_ = 0;
  Digest digest_ = Digest::sha256();
};

// Throws Error{kIo} when the disk that holds `directory` has not `bytes` left, with both numbers.
void require_free_space(const std::filesystem::path& directory, uint64_t bytes);

// Makes a rename in `directory` survive a power cut.
void sync_directory(const std::filesystem::path& directory);

}  // namespace carronade
