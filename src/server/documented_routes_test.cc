// The API's document and the table of routes say the same.
#include <gtest/gtest.h>

#include <set>

#include "api/json_fields.h"
#include "api/openapi.h"
#include "server/openai_routes.h"
#include "server/operator_routes.h"
#include "server/web_assets.h"

namespace carronade {
namespace {

TEST(Openapi, DescribesEveryRouteOfTheApiAndNoOther) {
  Router router;
  const auto state = std::make_shared<ServingState>();
  add_openai_routes(router, state);
  add_operator_routes(router, state, "1");
  add_docs_routes(router, "1");
  std::set<std::string> served, described, open;
  for (const Route& route : router.routes()) {
    if (!route.on_api || route.path == "/assets/*" || route.path == "/favicon.svg") continue;  // the files of a page
    std::string path =
        route.path.ends_with("/*") ? route.path.substr(0, route.path.size() - 1) + "{model}" : route.path;
    served.insert((route.method == "GET" ? "get " : "post ") + path);
    if (!route.needs_key) open.insert(path);
  }
  const Json document = Json::parse(openapi_document("1"));
  for (const auto& [path, methods] : document["paths"].items()) {
    for (const auto& [method, operation] : methods.items()) {
      described.insert(method + " " + path);
      EXPECT_EQ(operation.contains("security"), !open.contains(path)) << path;
    }
  }
  EXPECT_EQ(described, served);
}

}  // namespace
}  // namespace carronade
