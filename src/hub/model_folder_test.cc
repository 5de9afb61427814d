#include "hub/model_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/testing.h"
#include "hub/storage.h"

namespace carronade {
namespace {

namespace fs = std::filesystem;

class ModelFolderTest : public testing::Test {
 protected:
  void touch(const fs::path& path) {
    fs::create_directories((directory_.path() / path).parent_path());
    write_file_atomically(directory_.path() / path, "x");
  }
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const FolderModel& model : models_in(directory_.path())) result.push_back(model.name);
    return result;
  }
  TemporaryDirectory directory_;
};

TEST_F(ModelFolderTest, FilesAndFoldersAreModels) {
  for (const char* path : {"small.gguf", "BIG.Q8_0.GGUF", "split-00001-of-00002.gguf", "split-00002-of-00002.gguf",
                           "mmproj-x.gguf", "readme.md", ".hidden.gguf", "qwen/config.json", "qwen/model.safetensors",
                           "org/repo/deep.gguf", "a/b/c/too-deep.gguf", "notes/text.txt", ".locks/small.gguf"})
    touch(path);
  ASSERT_EQ(::mkfifo((directory_.path() / "pipe.gguf").c_str(), 0600), 0);
  EXPECT_EQ(names(), (std::vector<std::string>{"BIG.Q8_0", "deep", "qwen", "small", "split"}));
  EXPECT_EQ(models_in(directory_.path())[4].path, directory_.path() / "split-00001-of-00002.gguf");
}

TEST_F(ModelFolderTest, EqualNamesAreToldApart) {
  touch("a/model.gguf");
  touch("b/model.gguf");
  touch("c/other.gguf");
  EXPECT_EQ(names(), (std::vector<std::string>{"a/model", "b/model", "other"}));
}

TEST_F(ModelFolderTest, WhatFollowsTheLastDotBelongsToAFoldersName) {
  touch("org1/m-0.5b/config.json");
  touch("org1/m-0.7b/config.json");
  touch("org2/m-0.5b/config.json");
  touch("org2/m-0.7b/config.json");
  EXPECT_EQ(names(), (std::vector<std::string>{"org1/m-0.5b", "org1/m-0.7b", "org2/m-0.5b", "org2/m-0.7b"}));
}

TEST_F(ModelFolderTest, TheExtensionTellsApartWhatFoldersDoNot) {
  touch("x.gguf");
  touch("x/config.json");
  touch("a/y.gguf");
  touch("a/y/config.json");
  touch("b/y.gguf");
  touch("z.gguf");
  touch("z-00001-of-00002.gguf");
  touch("z-00002-of-00002.gguf");
  EXPECT_EQ(names(),
            (std::vector<std::string>{"a/y", "a/y.gguf", "b/y", "x", "x.gguf", "z-00001-of-00002.gguf", "z.gguf"}));
}

TEST_F(ModelFolderTest, PartsAreToldApartWithoutTheirNumbers) {
  touch("a/split-00001-of-00002.gguf");
  touch("b/split-00001-of-00003.gguf");
  EXPECT_EQ(names(), (std::vector<std::string>{"a/split", "b/split"}));
}

TEST_F(ModelFolderTest, ALinkHasItsOwnName) {
  const TemporaryDirectory elsewhere;
  write_file_atomically(elsewhere.path() / "blob.gguf", "x");
  for (const char* link : {"a/model.gguf", "b/model.gguf", "c.gguf"}) {
    fs::create_directories((directory_.path() / link).parent_path());
    fs::create_symlink(elsewhere.path() / "blob.gguf", directory_.path() / link);
  }
  EXPECT_EQ(names(), (std::vector<std::string>{"a/model", "b/model", "c"}));
  EXPECT_EQ(models_in(directory_.path())[0].path, directory_.path() / "a/model.gguf");
}

TEST_F(ModelFolderTest, ALinkThatLoopsIsNoFolder) {
  touch("top.gguf");
  touch("fd/inner.gguf");
  fs::create_directory_symlink("..", directory_.path() / "fd/loop");
  fs::create_directory_symlink(".", directory_.path() / "self");
  EXPECT_EQ(names(), (std::vector<std::string>{"inner", "top"}));
  const fs::path linked = directory_.path() / "fd/loop";  // the folder itself may be such a link
  EXPECT_EQ(models_in(linked).size(), 2u);
}

TEST_F(ModelFolderTest, TheFolderMayBeWrittenInAnyWay) {
  touch("a/x.gguf");
  touch("b/x.gguf");
  for (const char* way : {"", "a/..", "./.", "a/../"}) {
    const std::vector<FolderModel> found = models_in(directory_.path() / way);
    ASSERT_EQ(found.size(), 2u) << way;
    EXPECT_EQ(found[0].name, "a/x") << way;
    EXPECT_EQ(found[1].name, "b/x") << way;
  }
}

TEST_F(ModelFolderTest, WhatWasFetchedHasItsOwnName) {
  const Storage storage(directory_.path());
  InstalledModel model;
  model.name = "org/repo:Q8_0";
  model.main = "weights.gguf";
  model.files = {{"weights.gguf", 1, ""}};
  const fs::path folder = fs::relative(storage.directory(model.name), directory_.path());
  touch(folder / "weights.gguf");
  storage.save(model);
  EXPECT_EQ(names(), std::vector<std::string>{"org/repo:Q8_0"});
  fs::remove(directory_.path() / folder / "weights.gguf");
  EXPECT_EQ(names(), std::vector<std::string>{});
}

TEST_F(ModelFolderTest, APublishedFolderIsOneModel) {
  touch("qwen/config.json");
  touch("raw/model.safetensors");
  touch("several/one.gguf");
  EXPECT_TRUE(is_one_model(directory_.path() / "qwen"));
  EXPECT_TRUE(is_one_model(directory_.path() / "raw"));
  EXPECT_FALSE(is_one_model(directory_.path() / "several"));
  EXPECT_FALSE(is_one_model(directory_.path() / "several/one.gguf"));
  EXPECT_THROW(models_in(directory_.path() / "none"), Error);
}

}  // namespace
}  // namespace carronade
