#include <gtest/gtest.h>

#include "base/error.h"
#include "hub/repository.h"

namespace carronade {
namespace {

std::vector<RemoteFile> files_named(std::initializer_list<const char*> names) {
  std::vector<RemoteFile> files;
  for (const char* name : names) {
    files.emplace_back();
    files.back().path = name;
  }
  return files;
}

std::string first_of(std::initializer_list<const char*> names, std::string_view selector) {
  return choose_files(files_named(names), selector, "org/repo").front().path;
}

TEST(ChooseFiles, TheBestBalanceIsTakenWhereNothingWasAsked) {
  EXPECT_EQ(first_of({"m-F16.gguf", "m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-Q2_K.gguf"}, ""), "m-Q4_K_M.gguf");
  EXPECT_EQ(first_of({"m-Q2_K.gguf", "m.q8_0.gguf"}, ""), "m.q8_0.gguf");
  EXPECT_EQ(first_of({"mmproj-m-Q4_K_M.gguf", "m-F16.gguf"}, ""), "m-F16.gguf");
  EXPECT_EQ(first_of({"strange.gguf"}, ""), "strange.gguf") << "the only one needs no name for its quantization";
}

TEST(ChooseFiles, AQuantizationIsAWholeWord) {
  EXPECT_EQ(first_of({"m-Q4_K_M.gguf", "m-IQ4_K.gguf", "m-Q4_K.gguf"}, "q4_k"), "m-Q4_K.gguf");
  EXPECT_EQ(first_of({"m-BF16.gguf", "m-F16.gguf"}, "f16"), "m-F16.gguf");
  EXPECT_EQ(first_of({"m-UD-Q4_K_XL.gguf", "m-Q4_0.gguf"}, "Q4_K_XL"), "m-UD-Q4_K_XL.gguf");
  EXPECT_EQ(first_of({"Q8_0/m-00001-of-00002.gguf", "Q8_0/m-00002-of-00002.gguf", "Q4_0/m.gguf"}, "Q8_0"),
            "Q8_0/m-00001-of-00002.gguf");
  EXPECT_EQ(first_of({"a-Q8_0.gguf", "b-Q8_0.gguf"}, "b-Q8_0.gguf"), "b-Q8_0.gguf");
  EXPECT_EQ(first_of({"A-Q8_0.gguf"}, "a-q8_0.gguf"), "A-Q8_0.gguf") << "whatever the case";
}

TEST(ChooseFiles, SeveralOfWhichNoneIsPreferredAreListed) {
  try {
    first_of({"b-Q2_K.gguf", "a-IQ1_S.gguf"}, "");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kNotFound);
    EXPECT_NE(std::string(error.what()).find("a-IQ1_S.gguf, b-Q2_K.gguf"), std::string::npos);
  }
}

TEST(ChooseFiles, SplitFilesAreCompleteAndInOrder) {
  const auto files = files_named({"m-00003-of-00003.gguf", "m-00001-of-00003.gguf", "m-00002-of-00003.gguf"});
  const auto chosen = choose_files(files, "", "org/repo");
  ASSERT_EQ(chosen.size(), 3u);
  EXPECT_EQ(chosen[0].path, "m-00001-of-00003.gguf");
  EXPECT_EQ(chosen[2].path, "m-00003-of-00003.gguf");
  EXPECT_THROW(choose_files(files_named({"m-00001-of-00002.gguf"}), "", "org/repo"), Error);
}

TEST(SplitPieces, OnlyForNamesThatSaySo) {
  EXPECT_EQ(split_pieces("a.gguf").size(), 1u);
  EXPECT_EQ(split_pieces("m-00001-of-00004.gguf").size(), 4u);
  EXPECT_EQ(split_pieces("m-00001-of-00001.gguf"), std::vector<std::string>{"m-00001-of-00001.gguf"});
  EXPECT_EQ(split_pieces("m-0001-of-0004.gguf").size(), 1u);
  EXPECT_EQ(split_pieces("-00001-of-00002").size(), 1u);
  EXPECT_THROW(split_pieces("m-00001-of-99999.gguf"), Error);
  EXPECT_THROW(split_pieces("m-00005-of-00004.gguf"), Error);
  EXPECT_THROW(split_pieces("m-00001-of-00000.gguf"), Error);
}

TEST(ChooseFiles, AsPublishedComesFirstWhereBothAre) {
  EXPECT_EQ(first_of({"config.json", "model.safetensors", "m-Q4_K_M.gguf"}, ""), "config.json");
  EXPECT_EQ(first_of({"config.json", "model.safetensors", "m-Q4_K_M.gguf"}, "Q4_K_M"), "m-Q4_K_M.gguf");
  EXPECT_EQ(first_of({"config.json", "onnx/model.safetensors", "m-Q4_K_M.gguf"}, ""), "m-Q4_K_M.gguf");
  EXPECT_EQ(first_of({"config.json", "m-Q4_K_M.gguf"}, ""), "m-Q4_K_M.gguf");
}

TEST(ChooseFiles, SafetensorsNeedTheirConfiguration) {
  const auto chosen = choose_files(
      files_named({"model.safetensors", "consolidated.safetensors", "tokenizer.json", "config.json", "x.bin"}), "",
      "o/r");
  ASSERT_EQ(chosen.size(), 3u);
  EXPECT_EQ(chosen.front().path, "config.json");
  EXPECT_THROW(choose_files(files_named({"model.safetensors"}), "", "o/r"), Error);
  EXPECT_THROW(choose_files({}, "", "o/r"), Error);
}

}  // namespace
}  // namespace carronade
