#include "api/openai.h"

#include <gtest/gtest.h>

#include "api/json_fields.h"

namespace carronade {
namespace {

TEST(Errors, HaveTheDialectsBody) {
  const Json body = Json::parse(openai_error_body(Error(ErrorCode::kNotFound, "no \xff", "model")));
  EXPECT_EQ(body["error"]["code"], 404);
  EXPECT_EQ(body["error"]["type"], "NotFoundError");
  EXPECT_EQ(body["error"]["param"], "model");
  EXPECT_TRUE(Json::parse(openai_error_body(500, "x"))["error"]["param"].is_null());
}

TEST(Models, AreListedWithTheirContext) {
  const Json body = Json::parse(models_body({{"a", "/x", 5, 4096}}));
  EXPECT_EQ(body["data"][0]["id"], "a");
  EXPECT_EQ(body["data"][0]["max_model_len"], 4096);
  EXPECT_EQ(body["data"][0]["root"], "/x");
  EXPECT_TRUE(body["data"][0]["permission"].is_array());
}

TEST(NearestSpelling, FindsWhatWasMeantOrNothing) {
  EXPECT_EQ(nearest_spelling("temprature", {"top_p", "temperature"}), "temperature");
  EXPECT_EQ(nearest_spelling("zzz", {"top_p", "temperature"}), "");
  EXPECT_EQ(nearest_spelling("", {}), "");
  EXPECT_EQ(nearest_spelling(std::string(1 << 20, 't'), {"top_p"}), "");  // at once
  EXPECT_LT(shown_name(std::string(1 << 20, 't')).size(), 200u);
}

}  // namespace
}  // namespace carronade
