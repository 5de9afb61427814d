#include "engine/kv_disk.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "base/error.h"
#include "engine/testing.h"

namespace carronade {
namespace {

namespace fs = std::filesystem;

constexpr KvLayout kLayout{.layers = 2, .kv_heads = 1, .head_dim = 32, .dtype = DType::kF16};

class KvDiskTest : public EngineTest {
 protected:
  KvDiskTest() : backend_(make_reference_backend({})) { backend_->allocate_kv(kLayout, 4); }

  fs::path folder() const { return directory_.path() / "kv"; }
  std::unique_ptr<KvDisk> open(uint64_t capacity = 1 << 20, const std::string& model = "m") {
    auto disk =
        std::make_unique<KvDisk>(KvDiskOptions{folder(), capacity, model, {"first", "second"}}, *backend_, kLayout);
    disk->be_patient();
    return disk;
  }
  static std::array<TokenId, kBlockPositions> tokens(int seed) {
    std::array<TokenId, kBlockPositions> tokens;
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = seed * 100 + static_cast<TokenId>(i);
    return tokens;
  }
  std::vector<std::byte> bytes(int seed) const {
    std::mt19937 random(static_cast<uint32_t>(seed));
    std::vector<std::byte> bytes(block_bytes(kLayout));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    return bytes;
  }
  BlockDigest save(KvDisk& disk, int seed) {
    const BlockId block = 1;
    backend_->write_blocks({&block, 1}, bytes(seed));
    const BlockDigest digest = disk.next(disk.root({}), tokens(seed));
    disk.save(digest, tokens(seed), block);
    return digest;
  }
  bool loads(KvDisk& disk, int seed) {
    const BlockId block = 2;
    if (!disk.load(disk.next(disk.root({}), tokens(seed)), tokens(seed), block)) return false;
    std::vector<std::byte> out(block_bytes(kLayout));
    backend_->read_blocks({&block, 1}, out);
    return out == bytes(seed);
  }
  std::unique_ptr<KvDisk> open(const std::shared_ptr<KvFolder>& shared, const std::string& model) {
    auto disk = std::make_unique<KvDisk>(KvDiskOptions{{}, 0, model, {}, shared}, *backend_, kLayout);
    disk->be_patient();
    return disk;
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder())) files.push_back(entry.path());
    return files;
  }

  std::unique_ptr<Backend> backend_;
};

TEST_F(KvDiskTest, FindsBlocksAgainAfterARestart) {
  {
    const auto disk = open();
    for (int seed = 1; seed <= 3; ++seed) save(*disk, seed);
  }
  EXPECT_EQ(files().size(), 3u);
  const auto disk = open();
  for (int seed = 1; seed <= 3; ++seed) EXPECT_TRUE(loads(*disk, seed));
  EXPECT_FALSE(loads(*disk, 4));
  EXPECT_EQ(disk->stats().read, 3u);
}

TEST_F(KvDiskTest, SeveralModelsShareAFolder) {
  const uint64_t block = block_bytes(kLayout) + 8 + 64 + 32;
  const auto shared = std::make_shared<KvFolder>(folder(), 3 * block);
  {
    const auto one = open(shared, "one"), two = open(shared, "two");
    for (int seed = 1; seed <= 2; ++seed) save(*one, seed);
    while (shared->blocks() < 2) std::this_thread::yield();
    for (int seed = 1; seed <= 2; ++seed) save(*two, seed);
  }
  EXPECT_EQ(files().size(), 3u) << "the capacity is of both";
  const auto one = open(shared, "one"), two = open(shared, "two");
  EXPECT_FALSE(loads(*one, 1)) << "used longest ago";
  EXPECT_TRUE(loads(*one, 2));
  EXPECT_TRUE(loads(*two, 1));
  EXPECT_TRUE(loads(*two, 2));
  EXPECT_EQ(one->stats().bytes, 3 * block);
}

TEST_F(KvDiskTest, NamesDependOnAllThatTheContentDependsOn) {
  const auto disk = open(), other = open(1 << 20, "another");
  std::set<BlockDigest> names = {disk->root({}), disk->root({.tenant = 1}), disk->root({.adapter = 1}),
                                 other->root({})};
  EXPECT_EQ(names.size(), 4u);
  names.insert(disk->root({.salt = cache_salt_of("a")}));
  names.insert(disk->root({.salt = cache_salt_of("b")}));
  EXPECT_EQ(names.size(), 6u);
  names.insert(disk->next(disk->root({}), tokens(1)));
  names.insert(disk->next(disk->root({}), tokens(2)));
  names.insert(disk->next(disk->next(disk->root({}), tokens(1)), tokens(2)));
  EXPECT_EQ(names.size(), 9u);
}

TEST_F(KvDiskTest, ADamagedFileIsAMissAndGoes) {
  {
    const auto disk = open();
    save(*disk, 1);
  }
  const fs::path file = files().at(0);
  const auto size = static_cast<int>(fs::file_size(file));
  std::string whole(static_cast<size_t>(size), '\0');
  std::ifstream(file, std::ios::binary).read(whole.data(), size);
  for (const int at : {0, 8, 20, 80, size / 2, size - 33, size - 32, size - 1, -1, -2, -3}) {
    std::string damaged = whole;
    if (at >= 0) damaged[static_cast<size_t>(at)] ^= 0x10;
    if (at == -1) damaged.pop_back();
    if (at == -2) damaged += 'x';
    if (at == -3) damaged.clear();
    std::ofstream(file, std::ios::binary | std::ios::trunc) << damaged;
    const auto disk = open();
    EXPECT_FALSE(loads(*disk, 1)) << "byte " << at;
    EXPECT_EQ(disk->stats().damaged, 1u);
    EXPECT_FALSE(fs::exists(file));
  }
  std::ofstream(file, std::ios::binary | std::ios::trunc) << whole;
  EXPECT_TRUE(loads(*open(), 1));
}

TEST_F(KvDiskTest, KeepsToItsCapacityAndGivesUpWhatWasUsedLongestAgo) {
  const uint64_t one = block_bytes(kLayout) + 8 + 64 + 32;
  {
    const auto disk = open(3 * one);
    for (int seed = 1; seed <= 3; ++seed) save(*disk, seed);
  }
  {
    const auto disk = open(3 * one);
    EXPECT_TRUE(loads(*disk, 1));
    save(*disk, 4);
  }
  const auto disk = open(3 * one);
  EXPECT_EQ(disk->stats().bytes, 3 * one);
  EXPECT_TRUE(loads(*disk, 1));
  EXPECT_TRUE(loads(*disk, 4));
  EXPECT_EQ(files().size(), 3u);
  EXPECT_EQ(open(one)->stats().blocks, 1u);
}

TEST_F(KvDiskTest, NobodyElseMayLookIntoTheFolder) {
  fs::create_directories(folder());
  fs::permissions(folder(), fs::perms(0755));
  save(*open(), 1);
  EXPECT_EQ(fs::status(folder()).permissions(), fs::perms::owner_all);
}

TEST_F(KvDiskTest, LeavesStrangersFilesAlone) {
  fs::create_directories(folder());
  std::ofstream(folder() / "letter.txt") << "mine";
  std::ofstream(folder() / (std::string(64, 'a') + ".part")) << "unfinished";
  save(*open(), 1);
  EXPECT_TRUE(fs::exists(folder() / "letter.txt"));
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(KvDiskTest, AFolderThatCannotBeMadeIsAnError) {
  std::ofstream(folder()) << "a file is in the way";
  EXPECT_THROW(open(), Error);
}

TEST_F(KvDiskTest, AFolderThatTakesNoFilesIsAnError) {
  EXPECT_THROW(KvDisk({"/proc/self", 1 << 20, "m"}, *backend_, kLayout), Error);
}

TEST_F(KvDiskTest, AFolderInABlocksPlaceMakesWay) {
  save(*open(), 1);
  const fs::path file = files().at(0);
  fs::remove(file);
  fs::create_directory(file);
  save(*open(), 1);
  EXPECT_TRUE(loads(*open(), 1));
}

// Without its first block a conversation is worth nothing, so its last is the first to go: read from the first to the
// last, and put back from the last to the first, as the pool lets go of them.
TEST_F(KvDiskTest, WhatWasReadIsAsOldAsWhenItIsPutBack) {
  const uint64_t one = block_bytes(kLayout) + 8 + 64 + 32;
  for (const bool restart : {false, true}) {
    auto disk = open(3 * one);
    for (int seed = 3; seed >= 1; --seed) save(*disk, seed);
    disk = nullptr;
    disk = open(3 * one);
    for (int seed = 1; seed <= 3; ++seed) EXPECT_TRUE(loads(*disk, seed));
    for (int seed = 3; seed >= 1; --seed) save(*disk, seed);
    if (restart) {
      disk = nullptr;
      disk = open(3 * one);
    }
    save(*disk, 4);
    disk = nullptr;
    disk = open(3 * one);
    EXPECT_TRUE(loads(*disk, 1) && loads(*disk, 2) && loads(*disk, 4));
    EXPECT_FALSE(loads(*disk, 3));
    disk = nullptr;
    fs::remove_all(folder());
  }
}

// A file system of 64 KiB, where this may be mounted.
TEST_F(KvDiskTest, AFullDiskKeepsWhatWasUsedLast) {
  fs::create_directories(folder());
  if (::mount("none", folder().c_str(), "tmpfs", 0, "size=65536") != 0) GTEST_SKIP() << "no right to mount";
  {
    const auto disk = open();
    for (int seed = 1; seed <= 100; ++seed) save(*disk, seed);
  }
  {
    const auto disk = open();
    EXPECT_GE(disk->stats().blocks, 2u);
    EXPECT_TRUE(loads(*disk, 100));
    EXPECT_FALSE(loads(*disk, 1));
  }
  EXPECT_EQ(::umount(folder().c_str()), 0);
}

// From one checkpoint, other keys and values.
TEST_F(KvDiskTest, OtherArithmeticHasOtherBlocks) {
  std::set<BlockDigest> roots;
  std::set<std::string> kinds;
  const auto add = [&](const BackendOptions& options) {
    const auto backend = make_cpu_backend(options);
    kinds.insert(backend->device().arithmetic);
    roots.insert(KvDisk({folder(), 1 << 20, "m"}, *backend, kLayout).root({}));
  };
  add({.threads = 1});
  add({.threads = 1, .float_weights = DType::kF16});
  add({.threads = 1, .float_weights = DType::kBF16});
  add({.threads = 1, .float_activations = true});
  EXPECT_EQ(kinds.size(), 4u);
  EXPECT_EQ(roots.size(), 4u);
  add({.threads = 2});
  EXPECT_EQ(roots.size(), 4u) << "threads change no bit";
}

TEST_F(KvDiskTest, AFolderThatGoesAwayCostsTheCacheOnly) {
  const auto disk = open();
  fs::remove_all(folder());
  save(*disk, 1);
  EXPECT_FALSE(loads(*disk, 1));
}

class KvDiskEngine : public EngineTest {
 protected:
  EngineOptions with_disk(const std::string& model = "tiny") const {
    EngineOptions options = small_options();
    options.kv_disk_bytes = 8 << 20;
    options.kv_disk_directory = directory_.path() / "kv";
    options.kv_disk_model = model;
    return options;
  }
  struct Answered {
    std::vector<TokenEvent> events;
    Usage usage;
  };
  static Answered ask(Engine& engine, const Tokens& prompt) {
    Listener listener;
    Request ask = request(prompt, 20);
    ask.sampling.logprobs = 0;
    ask.sink = listener.sink();
    engine.submit(std::move(ask));
    const Usage usage = listener.wait().usage;
    return {listener.events(), usage};
  }
  static void expect_equal(const Answered& a, const Answered& b) {
    ASSERT_EQ(a.events.size(), b.events.size());
    for (size_t i = 0; i < a.events.size(); ++i) {
      EXPECT_EQ(a.events[i].token, b.events[i].token);
      EXPECT_EQ(a.events[i].logprob, b.events[i].logprob);
    }
  }
};

TEST_F(KvDiskEngine, TheSameAnswerAfterARestartWithoutReadingThePromptAgain) {
  Answered first;
  {
    const auto engine = make_engine(with_disk());
    first = ask(*engine, prompt(100));
    EXPECT_EQ(first.usage.cached_tokens, 0);
  }
  {
    const auto engine = make_engine(with_disk());
    const Answered again = ask(*engine, prompt(100));
    EXPECT_EQ(again.usage.cached_tokens, 96);
    expect_equal(again, first);
    EXPECT_EQ(engine->stats().kv_disk_read, 6u);
    // The answer was kept too: the next turn begins with it.
    Tokens turn = prompt(100);
    for (const TokenEvent& event : first.events) turn.push_back(event.token);
    EXPECT_EQ(ask(*engine, turn).usage.cached_tokens, 112);
  }
  const auto stranger = make_engine(with_disk("another model"));
  EXPECT_EQ(ask(*stranger, prompt(100)).usage.cached_tokens, 0);
}

TEST_F(KvDiskEngine, DamagedFilesAreComputedAgain) {
  Answered first;
  {
    const auto engine = make_engine(with_disk());
    first = ask(*engine, prompt(100));
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(with_disk().kv_disk_directory)) {
    std::fstream file(entry.path(), std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(500);
    file << "damage";
  }
  {
    const auto engine = make_engine(with_disk());
    const Answered again = ask(*engine, prompt(100));
    EXPECT_EQ(again.usage.cached_tokens, 0);
    expect_equal(again, first);
  }
  // All are replaced, also those that nobody came to read.
  const auto engine = make_engine(with_disk());
  EXPECT_EQ(ask(*engine, prompt(100)).usage.cached_tokens, 96);
}

TEST_F(KvDiskEngine, APauseIsEnoughToKeepAConversation) {
  const auto engine = make_engine(with_disk());
  ask(*engine, prompt(100));
  const auto kept = [&] {
    const fs::directory_iterator files(with_disk().kv_disk_directory);
    return std::count_if(begin(files), end(files), [](const auto& file) { return file.path().extension().empty(); });
  };
  // Six blocks of the prompt and one with the answer's beginning, while the engine still runs.
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
       kept() < 7 && std::chrono::steady_clock::now() < end;)
    std::this_thread::yield();
  EXPECT_EQ(kept(), 7);
}

TEST_F(KvDiskEngine, LessThanABlockIsRefused) {
  EngineOptions options = with_disk();
  options.kv_disk_bytes = 4;
  EXPECT_THROW(make_engine(options), Error);
}

// A pool that holds one conversation: each turn of the other drives it out, and it comes back from disk.
TEST_F(KvDiskEngine, EvictedConversationsComeBack) {
  EngineOptions options = with_disk();
  options.max_num_seqs = 1;
  options.kv_bytes = 9 * 2 * 2 * 2 * 16 * 16 * 2;  // blocks: layers, sides, heads, positions, head_dim, bytes
  options.max_model_len = 9 * 16;
  const auto plain = make_engine();
  const auto engine = make_engine(options);
  const Answered expected = ask(*plain, prompt(100, 1));
  ask(*engine, prompt(100, 1));
  ask(*engine, prompt(100, 2));
  const Answered again = ask(*engine, prompt(100, 1));
  EXPECT_GT(again.usage.cached_tokens, 0);
  EXPECT_GT(engine->stats().kv_disk_read, 0u);
  expect_equal(again, expected);
}

}  // namespace
}  // namespace carronade
