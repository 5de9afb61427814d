#include "base/file.h"

#include <gtest/gtest.h>
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
  std::ofstream(directory.path() / "a");
  EXPECT_TRUE(MappedFile(directory.path() / "a").bytes().empty());
}

TEST(MappedFile, AMissingFileIsNamedInTheError) {
  try {
    MappedFile("/nowhere/model.gguf");
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
