#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "base/testing.h"

namespace carronade {
namespace {

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const TemporaryDirectory directory;
  std::ofstream(directory.path() / "a") << "carronade";
  const MappedFile file(directory.path() / "a");
  ASSERT_EQ(file.bytes().size(), 9u);
  EXPECT_EQ(static_cast<char>(file.bytes()[0]), 'c');
}

TEST(MappedFile, AnEmptyFileHasNoBytes) {
  const TemporaryDirectory directory;
  write_file_atomically(directory.path() / "a", "");
  EXPECT_TRUE(MappedFile(directory.path() / "a").bytes().empty());
}

TEST(MappedFile, AMissingFileIsNamedInTheError) {
  try {
    const MappedFile file("/nowhere/model.gguf");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kNotFound);
    EXPECT_NE(std::string(error.what()).find("/nowhere/model.gguf"), std::string::npos);
  }
}

TEST(MappedFile, ADirectoryIsAnError) { EXPECT_THROW(MappedFile("/tmp"), Error); }

TEST(ReadFile, RefusesMoreThanItsLimit) {
  const TemporaryDirectory directory;
  std::ofstream(directory.path() / "a") << "12345";
  EXPECT_EQ(read_file(directory.path() / "a", 5), "12345");
  EXPECT_THROW(read_file(directory.path() / "a", 4), Error);
}

TEST(WriteFileAtomically, ReplacesTheContentAndLeavesNothingElse) {
  const TemporaryDirectory directory;
  write_file_atomically(directory.path() / "a", "old");
  write_file_atomically(directory.path() / "a", "new");
  EXPECT_EQ(read_file(directory.path() / "a"), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

std::filesystem::perms mode_of(const std::filesystem::path& path) {
  return std::filesystem::status(path).permissions();
}

TEST(WriteFileAtomically, WhatIsPrivateStaysSoWhateverStoodThere) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "a";
  const mode_t before = ::umask(0);  // so that only what is asked for takes rights away
  write_file_atomically(path, "open");
  EXPECT_EQ(mode_of(path), std::filesystem::perms(0644));
  write_file_atomically(path, "private", 0600);
  EXPECT_EQ(mode_of(path), std::filesystem::perms(0600));
  ::umask(before);
}

TEST(MakeFolders, MakesThoseAboveAndNamesWhatIsInTheWay) {
  const TemporaryDirectory directory;
  make_folders(directory.path() / "a" / "b");
  make_folders(directory.path() / "a" / "b");
  EXPECT_TRUE(std::filesystem::is_directory(directory.path() / "a" / "b"));
  write_file_atomically(directory.path() / "file", "");
  for (const std::filesystem::path& path :
       {directory.path() / "file", directory.path() / "file" / "c", std::filesystem::path("/proc/none/c")}) {
    try {
      make_folders(path);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
    }
  }
}

TEST(FileLock, IsHeldByOneAtATime) {
  const TemporaryDirectory directory;
  FileLock first(directory.path() / "lock");
  ASSERT_TRUE(first.try_lock());
  {
    FileLock second(directory.path() / "lock");
    EXPECT_FALSE(second.try_lock());
  }
}

}  // namespace
}  // namespace carronade
