#include "hub/model_folder.h"

#include <gtest/gtest.h>

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
  EXPECT_EQ(names(), (std::vector<std::string>{"BIG.Q8_0", "deep", "qwen", "small", "split"}));
  EXPECT_EQ(models_in(directory_.path())[4].path, directory_.path() / "split-00001-of-00002.gguf");
}

TEST_F(ModelFolderTest, EqualNamesAreToldApart) {
  touch("a/model.gguf");
  touch("b/model.gguf");
  touch("c/other.gguf");
  EXPECT_EQ(names(), (std::vector<std::string>{"a/model", "b/model", "other"}));
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
