#include "hub/part_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "hub/progress.h"

namespace carronade {
namespace {

constexpr size_t kReadBytes = 1 << 20;
// Room for the part's identity, the manifest and a file system's own bookkeeping.
constexpr uint64_t kSpareBytes = 16 << 20;

[[noreturn]] void throw_errno(const char* verb, const std::filesystem::path& path) {
  const int error = errno;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    throw_error(
        ErrorCode::kIo,
        "the disk is full while writing {}; what is there is kept: free some space and run the same command again",
        path.string());
  }
  throw_error(ErrorCode::kIo, "cannot {} {}: {}", verb, path.string(), std::strerror(error));
}

// Hashes the file's bytes from `begin` to `end`.
void hash_range(int fd, const std::filesystem::path& path, uint64_t begin, uint64_t end, const std::stop_token& stop,
                Digest& digest) {
  std::vector<std::byte> buffer(kReadBytes);
  for (uint64_t at = begin; at < end;) {
    if (stop.stop_requested()) throw Error(ErrorCode::kCancelled, "stopped");
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(buffer.size(), end - at));
    const ssize_t count = ::pread(fd, buffer.data(), wanted, static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_errno("read", path);
    if (count == 0) throw_error(ErrorCode::kIo, "{} became shorter while it was read", path.string());
    digest.update(std::span<const std::byte>(buffer.data(), static_cast<size_t>(count)));
    at += static_cast<uint64_t>(count);
  }
}

}  // namespace

PartFile::PartFile(std::filesystem::path target) : target_(std::move(target)), part_(target_.string() + ".part") {
  make_folders(target_.parent_path());
  fd_ = ::open(part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) throw_errno("create", part_);
  struct stat status {};
  if (::fstat(fd_, &status) != 0) throw_errno("read", part_);
  size_ = static_cast<uint64_t>(status.st_size);
}

PartFile::~PartFile() {
  if (fd_ >= 0) ::close(fd_);
}

std::filesystem::path PartFile::identity_path() const { return part_.string() + ".json"; }

PartIdentity PartFile::identity() const {
  PartIdentity identity;
  try {
    const auto json = nlohmann::json::parse(read_file(identity_path(), 64 << 10), nullptr, false);
    if (!json.is_object()) return identity;
    identity.sha256 = json.value("sha256", "");
    identity.source = json.value("source", "");
    identity.etag = json.value("etag", "");
  } catch (const Error&) {
    return {};  // none was saved
  } catch (const nlohmann::json::exception&) {
    return {};
  }
  return identity;
}

void PartFile::save_identity(const PartIdentity& identity) {
  const nlohmann::ordered_json json = {
      {"sha256", identity.sha256}, {"source", identity.source}, {"etag", identity.etag}};
  // Headers may hold any byte; what is not UTF-8 is replaced and then simply does not match.
  write_file_atomically(identity_path(), json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void PartFile::load_hash(const std::stop_token& stop) {
  digest_ = Digest::sha256();
  hash_range(fd_, part_, 0, size_, stop, digest_);
}

void PartFile::truncate(uint64_t size, const std::stop_token& stop) {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) throw_errno("cut", part_);
  size_ = size;
  load_hash(stop);
}

void PartFile::append(std::span<const std::byte> bytes) {
  digest_.update(bytes);
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_errno("write", part_);
    size_ += static_cast<uint64_t>(count);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

std::string PartFile::git_blob_sha1(const std::stop_token& stop) const {
  Digest digest = Digest::git_blob(size_);
  hash_range(fd_, part_, 0, size_, stop, digest);
  return digest.hex();
}

std::string PartFile::range_sha256(uint64_t begin, uint64_t bytes, const std::stop_token& stop) const {
  Digest digest = Digest::sha256();
  hash_range(fd_, part_, begin, begin + bytes, stop, digest);
  return digest.hex();
}

void PartFile::commit() {
  if (::fsync(fd_) != 0) throw_errno("sync", part_);
  ::close(fd_);
  fd_ = -1;
  if (::rename(part_.c_str(), target_.c_str()) != 0) throw_errno("rename", part_);
  ::unlink(identity_path().c_str());
  sync_directory(target_.parent_path());
}

void PartFile::discard() {
  ::unlink(part_.c_str());
  ::unlink(identity_path().c_str());
}

void require_free_space(const std::filesystem::path& directory, uint64_t bytes) {
  std::error_code error;
  const auto space = std::filesystem::space(directory, error);
  if (error || space.available >= bytes + kSpareBytes) return;  // where the system cannot say, writing will
  throw_error(
      ErrorCode::kIo,
      "not enough free disk in {}: {} are needed, {} are free; free some, or choose another folder with --download-dir",
      directory.string(), format_bytes(bytes + kSpareBytes), format_bytes(space.available));
}

void sync_directory(const std::filesystem::path& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // some file systems do not offer it; the rename itself has happened
  ::fsync(fd);
  ::close(fd);
}

}  // namespace carronade
