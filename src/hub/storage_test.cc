#include "hub/storage.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "base/testing.h"
#include "hub/part_file.h"

namespace carronade {
namespace {

class StorageTest : public ::testing::Test {
 protected:
  InstalledModel install(const std::string& name) const {
    InstalledModel model;
    model.name = name;
    model.source = "https://example.org";
    model.repository = "org/repo";
    model.revision = "0123";
    model.main = "m.gguf";
    model.files = {{"m.gguf", 4, std::string(64, 'a')}};
    std::filesystem::create_directories(storage_.directory(name));
    std::ofstream(storage_.directory(name) / "m.gguf") << "GGUF";
    storage_.save(model);
    return model;
  }
  void spoil(const std::string& name, const std::string& manifest) const {
    std::ofstream(storage_.directory(name) / "manifest.json") << manifest;
  }

  TemporaryDirectory directory_;
  Storage storage_{directory_.path() / "models"};
};

TEST_F(StorageTest, WhatWasSavedIsFound) {
  install("org/repo:Q4_K_M");
  const auto found = storage_.find("org/repo:Q4_K_M");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->path(), storage_.directory("org/repo:Q4_K_M") / "m.gguf");
  EXPECT_EQ(found->repository, "org/repo");
  EXPECT_EQ(found->bytes(), 4u);
  EXPECT_EQ(found->date.size(), 20u);
  EXPECT_EQ(found->date.back(), 'Z');
  EXPECT_FALSE(storage_.find("org/repo"));
}

TEST_F(StorageTest, ListsByNameAndWithoutTheFolder) {
  EXPECT_TRUE(storage_.list().empty());
  install("b");
  install("a");
  ASSERT_EQ(storage_.list().size(), 2u);
  EXPECT_EQ(storage_.list().front().name, "a");
}

TEST_F(StorageTest, AFileOfAnotherLengthMakesItAbsent) {
  install("a");
  std::ofstream(storage_.directory("a") / "m.gguf") << "longer than before";
  EXPECT_FALSE(storage_.find("a"));
  EXPECT_TRUE(storage_.list().empty());
}

TEST_F(StorageTest, AManifestThatIsNoneMakesItAbsent) {
  install("a");
  for (const char* manifest : {"", "{", "[]", "{\"version\": 2}", "null", "{\"version\": 1, \"name\": 5}"}) {
    spoil("a", manifest);
    EXPECT_FALSE(storage_.find("a")) << manifest;
  }
  spoil(
      "a",
      R"({"version":1,"name":"a","source":"","repository":"","revision":"","date":"","main":"../../../etc/passwd","files":[]})");
  EXPECT_FALSE(storage_.find("a"));
}

TEST_F(StorageTest, RemoveTakesEverything) {
  install("a");
  std::ofstream(storage_.directory("a") / "x.gguf.part") << "1";
  EXPECT_TRUE(storage_.remove("a"));
  EXPECT_FALSE(std::filesystem::exists(storage_.directory("a")));
  EXPECT_FALSE(storage_.remove("a"));
}

TEST_F(StorageTest, OneHoldsTheLock) {
  FileLock first = storage_.lock("a/b");
  ASSERT_TRUE(first.try_lock());
  FileLock second = storage_.lock("a/b");
  EXPECT_FALSE(second.try_lock());
  FileLock other = storage_.lock("a");
  EXPECT_TRUE(other.try_lock());
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(PartFile, GrowsOverRunsAndBecomesTheTarget) {
  const TemporaryDirectory directory;
  const std::filesystem::path target = directory.path() / "deep" / "m";
  {
    PartFile part(target);
    part.save_identity({"hash", "source", "etag"});
    part.append(bytes_of("abc"));
  }
  PartFile part(target);
  EXPECT_EQ(part.size(), 3u);
  EXPECT_EQ(part.identity(), (PartIdentity{"hash", "source", "etag"}));
  part.load_hash({});
  part.append(bytes_of("def"));
  EXPECT_EQ(part.sha256(), sha256_of("abcdef"));
  EXPECT_EQ(part.range_sha256(1, 3, {}), sha256_of("bcd"));
  part.truncate(2, {});
  EXPECT_EQ(part.sha256(), sha256_of("ab"));
  part.append(bytes_of("c"));
  part.commit();
  EXPECT_EQ(read_file(target), "abc");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(target.parent_path()), {}), 1);
}

TEST(PartFile, DoesNotWriteThroughALink) {
  const TemporaryDirectory directory;
  std::ofstream(directory.path() / "victim") << "precious";
  std::filesystem::create_symlink(directory.path() / "victim", directory.path() / "m.part");
  EXPECT_THROW(PartFile(directory.path() / "m"), Error);
  EXPECT_EQ(read_file(directory.path() / "victim"), "precious");
}

TEST(PartFile, AnIdentityThatIsNoneIsEmpty) {
  const TemporaryDirectory directory;
  const PartFile part(directory.path() / "m");
  for (const char* text : {"", "[]", "{\"sha256\": 5}", "\xff"}) {
    std::ofstream(directory.path() / "m.part.json") << text;
    EXPECT_EQ(part.identity(), PartIdentity{}) << text;
  }
}

}  // namespace
}  // namespace carronade
