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

// Counted up when files, or what they are named by, are made otherwise. What kernels compute has the backend's version.
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

}  // namespace

KvDisk::KvDisk(KvDiskOptions options, Backend& backend, const KvLayout& layout)
    : options_(std::move(options)), backend_(backend), block_bytes_(block_bytes(layout)), buffer_(block_bytes_) {
  if (sodium_init() < 0) throw Error(ErrorCode::kInternal, "libsodium cannot be used");
  folder_ = options_.folder ? options_.folder : std::make_shared<KvFolder>(options_.directory, options_.capacity);
  options_.capacity = folder_->capacity();
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
  hasher.add(backend.device().arithmetic);
  hasher.add(info(layout.dtype).name);
  for (const int32_t extent : {layout.layers, layout.kv_heads, layout.head_dim}) hasher.add(&extent, sizeof extent);
  model_digest_ = hasher.finish();
  folder_->find_files();
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

bool KvDisk::load(const BlockDigest& digest, Tokens tokens, BlockId into) {
  const std::string name = hexadecimal(digest);
  if (!folder_->has(name)) return false;
  const fs::path path = folder_->path_of(name);
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
  if (!good) {
    folder_->remove(name);
    const std::lock_guard lock(mutex_);
    if (stats_.damaged++ == 0)
      spdlog::warn("{}: is damaged; such KV blocks are computed again and replaced", path.string());
    return false;
  }
  backend_.write_blocks({&into, 1}, std::as_bytes(std::span(content)).subspan(kHeaderBytes, block_bytes_));
  folder_->was_read(name);
  const std::lock_guard lock(mutex_);
  ++stats_.read;
  return true;
}

void KvDisk::save(const BlockDigest& digest, Tokens tokens, BlockId from) {
  const uint64_t bytes = kHeaderBytes + block_bytes_ + kChecksumBytes;
  Job job{hexadecimal(digest), {}};
  if (folder_->keep(job.name)) return;
  {
    std::unique_lock lock(mutex_);
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
    lock.unlock();
    folder_->make_room(bytes);
    Written written = write_file(job);
    // A disk that is full before our capacity is reached: what was used longest ago makes room there too.
    for (int freed = 0; written == Written::kNoSpace && freed < kMostFreedForOne && folder_->remove_oldest(); ++freed)
      written = write_file(job);
    if (written == Written::kYes) folder_->add(job.name, bytes);
    lock.lock();
    queued_bytes_ -= bytes;
    ++(written == Written::kYes ? stats_.written : stats_.dropped);
    changed_.notify_all();
  }
}

// Renamed when whole, and not synced: after a power cut the checksum tells.
KvDisk::Written KvDisk::write_file(const Job& job) {
  Hasher hasher;
  hasher.add(job.content.data(), job.content.size());
  const BlockDigest checksum = hasher.finish();
  const fs::path part = folder_->part_of(job.name);
  errno = 0;
  std::ofstream out(part, std::ios::binary | std::ios::trunc);
  out.write(job.content.data(), static_cast<std::streamsize>(job.content.size()));
  out.write(reinterpret_cast<const char*>(checksum.data()), checksum.size());
  out.close();
  const bool no_space = !out.good() && (errno == ENOSPC || errno == EDQUOT);
  std::error_code failure;
  if (out.good()) fs::rename(part, folder_->path_of(job.name), failure);
  if (out.good() && !failure) return Written::kYes;
  fs::remove(part, failure);
  if (!std::exchange(has_warned_, true))
    spdlog::warn("{}: a KV block could not be written (is the disk full?); such blocks are computed again when needed",
                 part.string());
  return no_space ? Written::kNoSpace : Written::kNo;
}

KvDiskStats KvDisk::stats() const {
  const uint64_t bytes = folder_->bytes(), blocks = folder_->blocks();
  const std::lock_guard lock(mutex_);
  KvDiskStats stats = stats_;
  stats.bytes = bytes;
  stats.blocks = blocks;
  return stats;
}

}  // namespace carronade
