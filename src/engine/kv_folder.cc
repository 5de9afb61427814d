#include "engine/kv_folder.h"

#include <algorithm>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/cold_blocks.h"

namespace carronade {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNameLength = 2 * sizeof(BlockDigest);

bool begins_as_block(const std::string& name) {
  return name.size() >= kNameLength && name.find_first_not_of("0123456789abcdef") >= kNameLength;
}

// Else the first to know would be who reads the log after a day.
void check_that_files_can_be_made(const fs::path& folder) {
  const fs::path probe = folder / (std::string(kNameLength, '0') + ".part");
  std::ofstream(probe, std::ios::trunc).close();
  std::error_code failure;
  if (!fs::remove(probe, failure)) {
    throw Error(ErrorCode::kIo, fmt::format("{}: no file can be made in the folder for KV blocks", folder.string()),
                "kv-disk");
  }
}

}  // namespace

KvFolder::KvFolder(fs::path directory, uint64_t capacity) : directory_(std::move(directory)), capacity_(capacity) {
  std::error_code failure;
  fs::create_directories(directory_, failure);
  if (failure) {
    throw Error(ErrorCode::kIo,
                fmt::format("{}: the folder for KV blocks cannot be made: {}", directory_.string(), failure.message()),
                "kv-disk");
  }
  // What is in there was somebody's conversation.
  fs::permissions(directory_, fs::perms::owner_all, failure);
  check_that_files_can_be_made(directory_);
}

// In the order of their last use; what is no block of ours is left alone, but for what an earlier run did not finish.
void KvFolder::find_files() {
  struct Found {
    fs::file_time_type time;
    std::string name;
    uint64_t bytes;
  };
  const std::lock_guard lock(mutex_);
  if (std::exchange(looked_, true)) return;
  std::vector<Found> found;
  std::error_code failure;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_, failure)) {
    const std::string name = entry.path().filename().string();
    if (!begins_as_block(name)) continue;
    if (name.ends_with(".part")) {
      fs::remove(entry.path(), failure);
    } else if (name.size() == kNameLength && entry.is_directory(failure)) {
      fs::remove(entry.path(), failure);  // it would be in a block's way for ever; one that holds something stays
    } else if (name.size() == kNameLength) {
      const uint64_t bytes = entry.file_size(failure);
      if (!failure) found.push_back({entry.last_write_time(failure), name, bytes});
    }
  }
  std::ranges::sort(found, {}, &Found::time);
  for (const Found& one : found) insert(one.name, one.bytes, false);
  while (!files_.empty() && bytes_ > capacity_) drop_oldest();
}

fs::path KvFolder::part_of(const std::string& name) {
  const std::lock_guard lock(mutex_);
  return directory_ / fmt::format("{}.{}.part", name, ++parts_);
}

void KvFolder::insert(const std::string& name, uint64_t bytes, bool trusted) {
  forget(name);
  files_.push_back({name, bytes, trusted});
  by_name_.emplace(name, std::prev(files_.end()));
  bytes_ += bytes;
}

void KvFolder::forget(const std::string& name) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return;
  bytes_ -= found->second->bytes;
  files_.erase(found->second);
  by_name_.erase(found);
}

bool KvFolder::has(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return false;
  files_.splice(files_.end(), files_, found->second);
  return true;
}

void KvFolder::was_read(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return;
  found->second->trusted = true;
  found->second->used = true;
}

// A file of an earlier run that nobody has read since may be damaged: it is written anew.
bool KvFolder::keep(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end() || !found->second->trusted) return false;
  if (!std::exchange(found->second->used, false)) return true;
  std::error_code ignored;
  fs::last_write_time(path_of(name), fs::file_time_type::clock::now(), ignored);
  files_.splice(files_.end(), files_, found->second);
  return true;
}

void KvFolder::add(const std::string& name, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  insert(name, bytes, true);
}

void KvFolder::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  forget(name);
  std::error_code ignored;
  fs::remove(path_of(name), ignored);
}

void KvFolder::make_room(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  while (!files_.empty() && bytes_ + bytes > capacity_) drop_oldest();
}

bool KvFolder::remove_oldest() {
  const std::lock_guard lock(mutex_);
  if (files_.empty()) return false;
  drop_oldest();
  return true;
}

void KvFolder::drop_oldest() {
  const std::string oldest = files_.front().name;
  forget(oldest);
  std::error_code ignored;
  fs::remove(path_of(oldest), ignored);
}

uint64_t KvFolder::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

uint64_t KvFolder::blocks() const {
  const std::lock_guard lock(mutex_);
  return files_.size();
}

}  // namespace carronade
