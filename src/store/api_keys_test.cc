#include "store/api_keys.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing.h"

namespace carronade {
namespace {

// Every store's tests run once for each kind of database.
struct Kind {
  const char* name;
  std::shared_ptr<Database> (*open)(const std::filesystem::path& folder);
};

class ApiKeyStoreTest : public ::testing::TestWithParam<Kind> {
 protected:
  std::shared_ptr<Database> open() { return GetParam().open(directory_.path()); }
  ApiKeyStore store() { return ApiKeyStore(open()); }
  TemporaryDirectory directory_;
};

ApiKeyRow key(int64_t id, const std::string& name) {
  return {id, name, "hash of " + std::to_string(id), "ck-abcd", 3, 1000, 20, 300, 1'700'000'000 + id, 0, 0};
}

TEST_P(ApiKeyStoreTest, KeepsAKeyWhole) {
  ApiKeyRow row = key((int64_t{1} << 53) - 1, "Ünï 'quoted' \"name\"; --");
  row.tokens_per_day = 1'000'000'000'000'000;
  row.expires_at = 4'000'000'000;
  store().add(row);
  const auto rows = store().list();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].id, row.id);
  EXPECT_EQ(rows[0].name, row.name);
  EXPECT_EQ(rows[0].hash, row.hash);
  EXPECT_EQ(rows[0].hint, row.hint);
  EXPECT_EQ(rows[0].scopes, 3);
  EXPECT_EQ(rows[0].tokens_per_day, row.tokens_per_day);
  EXPECT_EQ(rows[0].requests_per_minute, 20);
  EXPECT_EQ(rows[0].tokens_per_minute, 300);
  EXPECT_EQ(rows[0].created_at, row.created_at);
  EXPECT_EQ(rows[0].expires_at, row.expires_at);
  EXPECT_EQ(rows[0].revoked_at, 0);
}

TEST_P(ApiKeyStoreTest, ANameIsOneKeysUntilThatIsRevoked) {
  ApiKeyStore keys = store();
  keys.add(key(1, "alice"));
  try {
    keys.add(key(2, "alice"));
    FAIL() << "two keys of one name";
  } catch (const Error& error) {
    EXPECT_EQ(error.param, "name");
  }
  EXPECT_FALSE(keys.revoke("bob", 5));
  EXPECT_TRUE(keys.revoke("alice", 5));
  EXPECT_FALSE(keys.revoke("alice", 6));
  keys.add(key(2, "alice"));
  const auto rows = keys.list();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].revoked_at, 5);
  EXPECT_EQ(rows[1].revoked_at, 0);
  ApiKeyRow again = key(3, "carol");
  again.hash = key(1, "").hash;
  EXPECT_THROW(keys.add(again), Error);  // a token is one key's
  EXPECT_EQ(keys.list().size(), 2u);
}

TEST_P(ApiKeyStoreTest, CountsItsChanges) {
  ApiKeyStore keys = store(), other = store();
  const int64_t at_first = other.change_count();
  keys.add(key(1, "alice"));
  const int64_t after_add = other.change_count();
  EXPECT_GT(after_add, at_first);
  keys.add_usage({{1, 20'000, 1, 2, 3}});
  EXPECT_EQ(other.change_count(), after_add);
  keys.revoke("alice", 5);
  EXPECT_GT(other.change_count(), after_add);
}

TEST_P(ApiKeyStoreTest, UsageAddsUp) {
  ApiKeyStore keys = store();
  keys.add(key(1, "alice"));
  keys.add(key(2, "bob"));
  keys.add_usage({});
  keys.add_usage({{1, 20'000, 1, 10, 100}, {2, 20'000, 1, 1, 1}, {1, 20'001, 1, 5, 5}});
  keys.add_usage({{1, 20'000, 2, 20, 200}, {77, 20'000, 1, 1, 1}});  // 77: not there any more
  const auto rows = store().usage_since(20'000);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].key_id, 1);
  EXPECT_EQ(rows[0].requests, 3);
  EXPECT_EQ(rows[0].prompt_tokens, 30);
  EXPECT_EQ(rows[0].completion_tokens, 300);
  EXPECT_EQ(rows[1].day, 20'001);
  EXPECT_EQ(rows[2].key_id, 2);
  EXPECT_EQ(store().usage_since(20'001).size(), 1u);
}

TEST_P(ApiKeyStoreTest, WhatIsForgottenIsGone) {
  ApiKeyStore keys = store();
  keys.add(key(1, "alice"));
  keys.revoke("alice", 5);
  keys.add(key(2, "alice"));
  keys.add_usage({{1, 20'000, 1, 1, 1}, {2, 20'000, 1, 1, 1}});
  EXPECT_EQ(keys.forget("bob"), 0);
  EXPECT_EQ(keys.forget("alice"), 2);
  EXPECT_TRUE(keys.list().empty());
  EXPECT_TRUE(keys.usage_since(0).empty());
}

INSTANTIATE_TEST_SUITE_P(Databases, ApiKeyStoreTest,
                         ::testing::Values(Kind{
                             "Sqlite", [](const std::filesystem::path& folder) { return Database::open(folder); }}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace carronade
