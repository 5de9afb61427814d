#include "api/openapi.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "api/json_fields.h"
#include "api/request_fields.h"
#include "base/file.h"

namespace carronade {
namespace {

TEST(Openapi, DescribesEveryFieldThatIsTaken) {
  const Json document = Json::parse(openapi_document("1.2.3"));
  EXPECT_EQ(document["openapi"], "3.1.0");
  EXPECT_EQ(document["info"]["version"], "1.2.3");
  const Json& fields = document["components"]["schemas"]["ChatCompletionRequest"]["properties"];
  for (const FieldRule& rule : chat_completion_fields())
    EXPECT_EQ(fields.contains(std::string(rule.name)), rule.use != FieldUse::kRefused) << rule.name;
  EXPECT_EQ(fields["top_p"]["maximum"], 1);
}

TEST(Openapi, EveryReferenceLeadsSomewhere) {
  const std::string text = openapi_document("1");
  const Json schemas = Json::parse(text)["components"]["schemas"];
  constexpr std::string_view kPrefix = "\"#/components/schemas/";
  int found = 0;
  for (size_t at = 0; (at = text.find(kPrefix, at)) != std::string::npos; ++found) {
    at += kPrefix.size();
    EXPECT_TRUE(schemas.contains(text.substr(at, text.find('"', at) - at))) << text.substr(at, 40);
  }
  EXPECT_GT(found, 5);
}

// CARRONADE_UPDATE=1 writes the file anew.
TEST(Compatibility, DocumentIsTheTables) {
  const std::string path = std::string(CARRONADE_SOURCE_DIR) + "/docs/compatibility.md";
  if (std::getenv("CARRONADE_UPDATE")) std::ofstream(path) << compatibility_document();
  EXPECT_EQ(read_file(path), compatibility_document()) << "CARRONADE_UPDATE=1 api_test writes it anew";
}

}  // namespace
}  // namespace carronade
