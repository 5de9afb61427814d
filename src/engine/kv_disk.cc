#include "engine/kv_disk.h"

#include <pthread.h>
#include <sodium.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace carronade {
namespace {

namespace fs = std::filesystem;

// Counted up whenever a block of the same tokens would hold other bytes: another layout, or kernels that round
// otherwise.
constexpr std::string_view kMagic = "CARRKV01";
constexpr size_t kTokenBytes = kBlockPositions * sizeof(TokenId);
constexpr size_t kChecksumBytes = crypto_generichash_BYTES;
constexpr size_t kHeaderBytes = kMagic.size() + kTokenBytes;
// What waits for the disk is memory that no budget knows of.
constexpr size_t kMostQueuedBytes = 32 << 20;
// Blocks of another model may be smaller than the one that needs their place.
constexpr int kMostFreedForOne = 8;

class Hasher {
 public:
  Hasher() { crypto_generichash_init(&state_, nullptr, 0, kChecksumBytes); }
  void add(const void* data, size_t size) {
    crypto_generichash_update(&state_, static_cast<const unsigned char*>(data), size);
  }
  void add(std::string_view text) {  // with its length, so that no two lists of texts meet
    const uint64_t size = text.size();
    add(&size, sizeof size);
    add(text.data(), text.size());
  }
  BlockDigest finish() {
    BlockDigest digest;
    crypto_generichash_final(&state_, reinterpret_cast<unsigned char*>(digest.data()), digest.size());
    return digest;
  }

 private:
  crypto_generichash_state state_;
};
static_assert(sizeof(BlockDigest) == kChecksumBytes);

std::string hexadecimal(const BlockDigest& digest) {
  std::string text(digest.size() * 2 + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), reinterpret_cast<const unsigned char*>(digest.data()), digest.size());
  text.pop_back();
  return text;
}

// Else the first to know would be who reads the log after a day.
void check_that_files_can_be_made(const fs::path& folder) {
  const fs::path probe = folder / (std::string(sizeof(BlockDigest) * 2, '0') + ".part");
  std::ofstream(probe, std::ios::trunc).close();
  std::error_code failure;
  if (!fs::remove(probe, failure)) {
    throw Error(ErrorCode::kIo, fmt::format("{}: no file can be made in the folder for KV blocks", folder.string()),
                "kv-disk");
  }
}

bool is_block_name(const std::string& name) {
  return name.size() == sizeof(BlockDigest) * 2 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

KvDisk::KvDisk(KvDiskOptions options, Backend& backend, const KvLayout& layout)
    : options_(std::move(options)), backend_(backend), block_bytes_(block_bytes(layout)), buffer_(block_bytes_) {
  if (sodium_init() < 0) throw Error(ErrorCode::kInternal, "libsodium cannot be used");
  std::error_code failure;
  fs::create_directories(options_.directory, failure);
  if (failure) {
    throw Error(
        ErrorCode::kIo,
        fmt::format("{}: the folder for KV blocks cannot be made: {}", options_.directory.string(), failure.message()),
        "kv-disk");
  }
  // What is in there was somebody's conversation.
  fs::permissions(options_.directory, fs::perms::owner_all, failure);
  check_that_files_can_be_made(options_.directory);
  if (const uint64_t one = kHeaderBytes + block_bytes_ + kChecksumBytes; one > options_.capacity) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{} bytes of KV blocks on disk are less than one block of this model takes, {}: give a unit, "
                    "as in 4GiB",
                    options_.capacity, one),
        "kv-disk");
  }
  Hasher hasher;
  hasher.add(kMagic);
  hasher.add(options_.model);
  hasher.add(backend.device().name);
  hasher.add(backend.device().variant);
  hasher.add(info(layout.dtype).name);
  for (const int32_t extent : {layout.layers, layout.kv_heads, layout.head_dim}) hasher.add(&extent, sizeof extent);
  model_digest_ = hasher.finish();
  find_files();
  writer_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "kv-disk");
    write_queue();
  });
}

KvDisk::~KvDisk() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  writer_.join();
}

BlockDigest KvDisk::root(const PrefixScope& scope) const {
  Hasher hasher;
  hasher.add(model_digest_.data(), model_digest_.size());
  hasher.add(&scope.tenant, sizeof scope.tenant);
  hasher.add(scope.adapter == kNoAdapter ? "" : options_.adapters.at(static_cast<size_t>(scope.adapter)));
  if (scope.salt != CacheSalt{}) hasher.add(scope.salt.data(), sizeof scope.salt);
  return hasher.finish();
}

BlockDigest KvDisk::next(const BlockDigest& parent, Tokens tokens) const {
  Hasher hasher;
  hasher.add(parent.data(), parent.size());
  hasher.add(tokens.data(), tokens.size_bytes());
  return hasher.finish();
}

// In the order of their last use; what is no block of ours is left alone, but for what an earlier run did not finish.
void KvDisk::find_files() {
  struct Found {
    fs::file_time_type time;
    File file;
  };
  std::vector<Found> found;
  std::error_code failure;
  for (const fs::directory_entry& entry : fs::directory_iterator(options_.directory, failure)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".part" && is_block_name(entry.path().stem().string())) {
      fs::remove(entry.path(), failure);
    } else if (is_block_name(name) && entry.is_directory(failure)) {
      fs::remove(entry.path(), failure);  // it would be in a block's way for ever; one that holds something stays
    } else if (is_block_name(name)) {
      const uint64_t bytes = entry.file_size(failure);
      if (!failure) found.push_back({entry.last_write_time(failure), {name, bytes}});
    }
  }
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.time < b.time; });
  const std::lock_guard lock(mutex_);
  for (Found& one : found) add_file(std::move(one.file.name), one.file.bytes, false);
  make_room(0);
}

fs::path KvDisk::path_of(const std::string& name) const { return options_.directory / name; }

void KvDisk::add_file(std::string name, uint64_t bytes, bool trusted) {
  forget(name);
  files_.push_back({name, bytes, trusted});
  by_name_.emplace(std::move(name), std::prev(files_.end()));
  stats_.bytes += bytes;
  stats_.blocks = files_.size();
}

void KvDisk::forget(const std::string& name) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return;
  stats_.bytes -= found->second->bytes;
  files_.erase(found->second);
  by_name_.erase(found);
  stats_.blocks = files_.size();
}

void KvDisk::make_room(uint64_t bytes) {
  while (!files_.empty() && stats_.bytes + bytes > options_.capacity) remove_oldest();
}

void KvDisk::remove_oldest() {
  const std::string oldest = files_.front().name;
  forget(oldest);
  std::error_code ignored;
  fs::remove(path_of(oldest), ignored);
}

void KvDisk::use(File& file) {
  file.used = false;
  std::error_code ignored;
  fs::last_write_time(path_of(file.name), fs::file_time_type::clock::now(), ignored);
  files_.splice(files_.end(), files_, by_name_.at(file.name));
}

bool KvDisk::load(const BlockDigest& digest, Tokens tokens, BlockId into) {
  const std::string name = hexadecimal(digest);
  {
    const std::lock_guard lock(mutex_);
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) return false;
    files_.splice(files_.end(), files_, found->second);
  }
  const fs::path path = path_of(name);
  std::string content;
  try {
    content = read_file(path, kHeaderBytes + block_bytes_ + kChecksumBytes);
  } catch (const Error&) {
    content.clear();  // gone, or of another size
  }
  const size_t whole = kHeaderBytes + block_bytes_;
  bool good = content.size() == whole + kChecksumBytes && content.starts_with(kMagic) &&
              std::memcmp(content.data() + kMagic.size(), tokens.data(), kTokenBytes) == 0;
  if (good) {
    Hasher hasher;
    hasher.add(content.data(), whole);
    const BlockDigest checksum = hasher.finish();
    good = std::memcmp(content.data() + whole, checksum.data(), kChecksumBytes) == 0;
  }
  std::error_code ignored;
  if (!good) {
    fs::remove(path, ignored);
    const std::lock_guard lock(mutex_);
    forget(name);
    if (stats_.damaged++ == 0)
      spdlog::warn("{}: is damaged; such KV blocks are computed again and replaced", path.string());
    return false;
  }
  backend_.write_blocks({&into, 1}, std::as_bytes(std::span(content)).subspan(kHeaderBytes, block_bytes_));
  const std::lock_guard lock(mutex_);
  if (const auto found = by_name_.find(name); found != by_name_.end()) {
    found->second->trusted = true;
    found->second->used = true;
  }
  ++stats_.read;
  return true;
}

void KvDisk::save(const BlockDigest& digest, Tokens tokens, BlockId from) {
  const uint64_t bytes = kHeaderBytes + block_bytes_ + kChecksumBytes;
  Job job{hexadecimal(digest), {}};
  {
    std::unique_lock lock(mutex_);
    // A file of an earlier run that nobody has read since may be damaged: it is written anew.
    if (const auto found = by_name_.find(job.name); found != by_name_.end() && found->second->trusted) {
      if (found->second->used) use(*found->second);
      return;
    }
    if (patient_) changed_.wait(lock, [&] { return queue_.empty() || queued_bytes_ + bytes <= kMostQueuedBytes; });
    if (!queue_.empty() && queued_bytes_ + bytes > kMostQueuedBytes) {
      ++stats_.dropped;
      return;
    }
  }
  backend_.read_blocks({&from, 1}, buffer_);
  job.content.reserve(bytes);
  job.content.append(kMagic).append(reinterpret_cast<const char*>(tokens.data()), kTokenBytes);
  job.content.append(reinterpret_cast<const char*>(buffer_.data()), buffer_.size());
  const std::lock_guard lock(mutex_);
  queued_bytes_ += bytes;
  queue_.push_back(std::move(job));
  changed_.notify_all();
}

void KvDisk::write_queue() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ending_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    const uint64_t bytes = job.content.size() + kChecksumBytes;
    make_room(bytes);
    lock.unlock();
    Written written = write_file(job);
    lock.lock();
    // A disk that is full before our capacity is reached: what was used longest ago makes room there too.
    for (int freed = 0; written == Written::kNoSpace && freed < kMostFreedForOne && !files_.empty(); ++freed) {
      remove_oldest();
      lock.unlock();
      written = write_file(job);
      lock.lock();
    }
    queued_bytes_ -= bytes;
    if (written == Written::kYes) {
      add_file(std::move(job.name), bytes, true);
      ++stats_.written;
    } else {
      ++stats_.dropped;
    }
    changed_.notify_all();
  }
}

// Renamed when whole, and not synced: after a power cut the checksum tells.
KvDisk::Written KvDisk::write_file(const Job& job) {
  Hasher hasher;
  hasher.add(job.content.data(), job.content.size());
  const BlockDigest checksum = hasher.finish();
  fs::path part = path_of(job.name);
  part += ".part";
  errno = 0;
  std::ofstream out(part, std::ios::binary | std::ios::trunc);
  out.write(job.content.data(), static_cast<std::streamsize>(job.content.size()));
  out.write(reinterpret_cast<const char*>(checksum.data()), checksum.size());
  out.close();
  const bool no_space = !out.good() && (errno == ENOSPC || errno == EDQUOT);
  std::error_code failure;
  if (out.good()) fs::rename(part, path_of(job.name), failure);
  if (out.good() && !failure) return Written::kYes;
  fs::remove(part, failure);
  if (!std::exchange(has_warned_, true))
    spdlog::warn("{}: a KV block could not be written (is the disk full?); such blocks are computed again when needed",
                 part.string());
  return no_space ? Written::kNoSpace : Written::kNo;
}

KvDiskStats KvDisk::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace carronade
