// Files: reading, mapping, writing so that a crash leaves the old or the new content, and locks between processes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace carronade {

// A whole file mapped read-only. Move-only; views into bytes() live as long as the object. Throws Error{kNotFound |
// kIo}.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

  // Tells the system that this range, a view into bytes(), will not be read again soon, so its pages need not stay
  // resident.
  void drop_pages(std::span<const std::byte> range) const;

 private:
  void unmap() noexcept;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The whole file as a string. Throws Error{kNotFound | kIo | kTooLarge}.
std::string read_file(const std::filesystem::path& path, uint64_t max_bytes = 64ull << 20);

// Writes beside the target, syncs, renames over it: a reader sees the old content or the new. `mode` is a new file's:
// 0600 for what is private. Throws Error{kIo}.
void write_file_atomically(const std::filesystem::path& path, std::string_view content, unsigned mode = 0644);

// Makes the folder and those above it, where they are not there. Throws Error{kNotFound | kIo} that names the folder.
void make_folders(const std::filesystem::path& path);

// An advisory lock between processes, held until destruction; the file itself stays. try_lock() is false when another
// holds it.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  bool try_lock();
  void lock();

 private:
  int fd_ = -1;
};

// Where downloaded and derived files live: $CARRONADE_CACHE, else $XDG_CACHE_HOME/carronade, else ~/.cache/carronade.
std::filesystem::path cache_dir();

// Where the user's own data lives: $XDG_DATA_HOME/carronade, else ~/.local/share/carronade. `serve --data-dir`
// overrides it.
std::filesystem::path default_data_dir();

}  // namespace carronade
