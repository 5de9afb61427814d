#include "hub/catalogue.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "hub/names.h"

namespace carronade {
namespace {

using Json = nlohmann::json;

TEST(Catalogue, TheBuiltInOneIsTheFile) {
  const Catalogue built_in = Catalogue::built_in();
  const Json json = Json::parse(read_file(std::string(CARRONADE_SOURCE_DIR) + "/catalogue/models.json"));
  ASSERT_EQ(built_in.entries().size(), json.at("models").size());
  EXPECT_EQ(built_in.default_entry().name, json.at("default"));
  for (const Json& entry : json.at("models")) {
    const CatalogueEntry* found = built_in.find(entry.at("name").get<std::string>());
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->description, entry.at("description"));
    EXPECT_EQ(found->sources.size(), entry.at("sources").size());
  }
}

TEST(Catalogue, TheDefaultThinksAndItsFallbackNeedsNoHub) {
  const Catalogue catalogue = Catalogue::built_in();
  const CatalogueEntry& entry = catalogue.default_entry();
  EXPECT_TRUE(entry.thinks);
  EXPECT_EQ(entry.chat.at("temperature"), 0.6);
  EXPECT_EQ(entry.chat.at("top_p"), 0.95);
  EXPECT_TRUE(entry.sha256.empty()) << "nobody has computed it; the hub's metadata says it";
  const CatalogueEntry* fallback = catalogue.find(entry.fallback);
  ASSERT_NE(fallback, nullptr);
  EXPECT_EQ(fallback->sources.back().hub, HubKind::kPackages);
}

TEST(Catalogue, TheNearestNameIsSuggestedOnlyWhenItIsNear) {
  const Catalogue catalogue = Catalogue::built_in();
  EXPECT_EQ(catalogue.nearest("smollm2"), "smollm2-135m");
  EXPECT_EQ(catalogue.nearest("qwen2.5-coder-1.5"), "qwen2.5-coder-1.5b");
  EXPECT_EQ(catalogue.nearest("deepseek-r1-distil-qwen-1.5b"), "deepseek-r1-distill-qwen-1.5b");
  EXPECT_EQ(catalogue.nearest("gpt-4"), "");
  EXPECT_EQ(catalogue.nearest(std::string(100000, 'x')), "");
}

// A valid catalogue, to be spoiled in one place by each case.
Json valid() {
  const std::string hash(64, 'a');
  return Json::parse(R"({"version": 1, "default": "m", "models": [{
    "name": "m", "aliases": ["n"], "description": "d", "licence": "MIT", "parameters": 1, "context_length": 2, "quantization": "Q8_0",
    "thinks": false, "chat": {"temperature": 0.5}, "fallback": "m", "file": {"name": "m.gguf", "bytes": 3, "sha256": ")" +
                     hash + R"("},
    "sources": [{"hub": "huggingface", "repository": "o/r", "file": "m.gguf"},
                {"hub": "packages", "parts": [{"package": "p", "version": "1", "path": "x", "bytes": 3, "sha256": ")" +
                     hash + R"("}]}]}]})");
}

struct Spoiled {
  const char* place;
  Json value;
};

TEST(Catalogue, EveryMistakeIsRefused) {
  EXPECT_NO_THROW(Catalogue::parse(valid().dump()));
  const Spoiled cases[] = {
      {"/default", "other"},
      {"/models/0/name", "Has/Slash"},
      {"/models/0/name", "Upper"},
      {"/models/0/name", ""},
      {"/models/0/name", "../up"},
      {"/models/0/aliases/0", "m"},
      {"/models/0/parameters", "many"},
      {"/models/0/thinks", 1},
      {"/models/0/chat", Json{{"temperature", "hot"}}},
      {"/models/0/fallback", "other"},
      {"/models/0/file/name", "../m.gguf"},
      {"/models/0/file/bytes", 4},
      {"/models/0/file/sha256", "ABC"},
      {"/models/0/file/sha256", ""},
      {"/models/0/sources", Json::array()},
      {"/models/0/sources/0/hub", "elsewhere"},
      {"/models/0/sources/0/repository", "no-slash"},
      {"/models/0/sources/0/file", "/absolute"},
      {"/models/0/sources/1/parts", Json::array()},
      {"/models/0/sources/1/parts/0/bytes", 0},
      {"/models/0/sources/1/parts/0/sha256", std::string(64, 'A')},
  };
  for (const Spoiled& one : cases) {
    Json json = valid();
    json[Json::json_pointer(one.place)] = one.value;
    EXPECT_THROW(Catalogue::parse(json.dump()), Error) << one.place << " = " << one.value;
  }
  for (const char* missing : {"name", "description", "licence", "parameters", "context_length", "quantization",
                              "thinks", "chat", "file", "sources"}) {
    Json json = valid();
    json["models"][0].erase(missing);
    EXPECT_THROW(Catalogue::parse(json.dump()), Error) << "without " << missing;
  }
  EXPECT_THROW(Catalogue::parse("<html>"), Error);
  EXPECT_THROW(Catalogue::parse("[]"), Error);
}

}  // namespace
}  // namespace carronade
