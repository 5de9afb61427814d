#include "hub/reference.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "base/testing.h"

namespace carronade {
namespace {

using Kind = ModelReference::Kind;

class Reference : public ::testing::Test {
 protected:
  ModelReference parse(std::string_view text) const { return parse_reference(text, catalogue_); }
  void expect_refused(std::string_view text, ErrorCode code) const {
    try {
      parse(text);
      ADD_FAILURE() << text << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code, code) << text << ": " << error.what();
    }
  }
  Catalogue catalogue_ = Catalogue::built_in();
};

TEST_F(Reference, NamesAndAliasesOfTheCatalogueAreTheSameModel) {
  for (const char* text :
       {"deepseek-r1-distill-qwen-1.5b", "default", "DeepSeek-R1-Distill-Qwen-1.5B", "deepseek-r1:1.5b"}) {
    const ModelReference reference = parse(text);
    EXPECT_EQ(reference.kind, Kind::kCatalogue) << text;
    EXPECT_EQ(reference.name, "deepseek-r1-distill-qwen-1.5b");
    EXPECT_EQ(reference.entry, &catalogue_.default_entry());
  }
}

TEST_F(Reference, ARepositorysNameIsItsPublishedWeights) {
  for (const char* text : {"deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "deepseek-ai/deepseek-r1-distill-qwen-1.5b",
                           "https://huggingface.co/deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"}) {
    const ModelReference reference = parse(text);
    EXPECT_EQ(reference.kind, Kind::kHub) << text;
    EXPECT_EQ(reference.name, "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B");
    EXPECT_EQ(reference.quantized, &catalogue_.default_entry());
    EXPECT_EQ(reference.entry, nullptr);
  }
  EXPECT_EQ(parse("org/repo").quantized, nullptr);
}

TEST_F(Reference, ARevisionCanBeGivenApart) {
  EXPECT_EQ(with_revision(parse("org/repo"), "v1").name, "org/repo@v1");
  EXPECT_EQ(with_revision(parse("org/repo:Q8_0"), "v1").name, "org/repo@v1:Q8_0");
  EXPECT_EQ(with_revision(parse("org/repo"), "main").name, "org/repo");
  EXPECT_EQ(with_revision(parse("org/repo@v1"), "v1").name, "org/repo@v1");
  EXPECT_EQ(with_revision(parse("org/repo"), "").name, "org/repo");
  EXPECT_THROW(with_revision(parse("org/repo@v1"), "v2"), Error);
  EXPECT_THROW(with_revision(parse("org/repo"), "../x"), Error);
  EXPECT_THROW(with_revision(parse("default"), "v1"), Error);
}

struct HubCase {
  const char* text;
  const char* repository;
  const char* revision;
  const char* selector;
  const char* name;
};

TEST_F(Reference, RepositoriesInEverySpelling) {
  const HubCase cases[] = {
      {"org/repo", "org/repo", "", "", "org/repo"},
      {"org/repo:Q4_K_M", "org/repo", "", "Q4_K_M", "org/repo:Q4_K_M"},
      {"org/repo:sub/a-b.gguf", "org/repo", "", "sub/a-b.gguf", "org/repo:sub/a-b.gguf"},
      {"org/repo@v1", "org/repo", "v1", "", "org/repo@v1"},
      {"org/repo@refs/pr/1:Q8_0", "org/repo", "refs/pr/1", "Q8_0", "org/repo@refs/pr/1:Q8_0"},
      {"org/repo@main", "org/repo", "", "", "org/repo"},
      {"hf.co/org/repo:Q8_0", "org/repo", "", "Q8_0", "org/repo:Q8_0"},
      {"huggingface.co/org/repo", "org/repo", "", "", "org/repo"},
      {"https://huggingface.co/org/repo", "org/repo", "", "", "org/repo"},
      {"https://huggingface.co/org/repo/", "org/repo", "", "", "org/repo"},
      {"HTTPS://HuggingFace.co/org/repo/tree/main", "org/repo", "", "", "org/repo"},
      {"https://huggingface.co/org/repo/blob/main/x.gguf", "org/repo", "", "x.gguf", "org/repo:x.gguf"},
      {"https://huggingface.co/org/repo/resolve/v2/d/x.gguf?download=true", "org/repo", "v2", "d/x.gguf",
       "org/repo@v2:d/x.gguf"},
      {"modelscope.cn/org/repo", "org/repo", "", "", "modelscope.cn/org/repo"},
      {"https://www.modelscope.cn/models/org/repo/resolve/master/x.gguf", "org/repo", "", "x.gguf",
       "modelscope.cn/org/repo:x.gguf"},
  };
  for (const HubCase& one : cases) {
    const ModelReference reference = parse(one.text);
    EXPECT_EQ(reference.kind, Kind::kHub) << one.text;
    EXPECT_EQ(reference.repository, one.repository) << one.text;
    EXPECT_EQ(reference.revision, one.revision) << one.text;
    EXPECT_EQ(reference.selector, one.selector) << one.text;
    EXPECT_EQ(reference.name, one.name) << one.text;
    EXPECT_EQ(parse(reference.name).name, reference.name) << "the canonical name must mean itself";
  }
}

TEST_F(Reference, AddressesOfOtherServers) {
  const ModelReference first = parse("https://example.org/models/a.gguf?token=1");
  EXPECT_EQ(first.kind, Kind::kUrl);
  EXPECT_EQ(first.url, "https://example.org/models/a.gguf?token=1");
  EXPECT_TRUE(first.name.starts_with("a.gguf@"));
  EXPECT_EQ(first.name.find("token"), std::string::npos);
  EXPECT_NE(first.name, parse("https://example.org/models/a.gguf?token=2").name);
  EXPECT_TRUE(parse("https://example.org").name.starts_with("model@"));
}

TEST_F(Reference, WhatExistsHereWins) {
  const TemporaryDirectory directory;
  const std::filesystem::path file = directory.path() / "m.gguf";
  std::ofstream(file) << "GGUF";
  EXPECT_EQ(parse(file.string()).kind, Kind::kPath);
  EXPECT_EQ(parse(file.string()).name, "m.gguf");
  EXPECT_EQ(parse(directory.path().string() + "/").name, directory.path().filename().string());
}

TEST_F(Reference, WhatIsNoModelIsRefused) {
  expect_refused("", ErrorCode::kInvalidArgument);
  expect_refused("unheard-of", ErrorCode::kNotFound);
  expect_refused("./none.gguf", ErrorCode::kNotFound);
  expect_refused("/none/such.gguf", ErrorCode::kNotFound);
  expect_refused("~nobody", ErrorCode::kNotFound);
  expect_refused("ftp://example.org/a.gguf", ErrorCode::kInvalidArgument);
  expect_refused("https://example.org/a b.gguf", ErrorCode::kInvalidArgument);
  expect_refused(std::string_view("org/\0repo", 9), ErrorCode::kInvalidArgument);
  for (const char* text : {"org/", "/x/", "org/repo:", "org/repo@", "org/repo/file.gguf", "org/..",
                           "org/repo:../x.gguf", "org/repo:/etc/passwd", "org/repo:a//b", "org/re po",
                           "org/repo@../../x", "-x/y", "org/repo:a\\b", "org/repo:a\nb", "hf.co/", "hf.co/org"}) {
    EXPECT_THROW(parse(text), Error) << text;
  }
}

TEST_F(Reference, AFileInARepositoryIsExplained) {
  try {
    parse("org/repo/file.gguf");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("org/repo:file.gguf"), std::string::npos);
  }
}

}  // namespace
}  // namespace carronade
