#include "workspace/key_ring.h"

#include <gtest/gtest.h>
#include <soci/soci.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "base/testing.h"
#include "workspace/testing.h"

namespace carronade {
namespace {

using std::chrono::seconds;

TEST(ApiKeyToken, IsLongRandomAndHashed) {
  const std::string token = make_token(), other = make_token();
  EXPECT_EQ(token.size(), 46u);
  EXPECT_TRUE(token.starts_with("ck-"));
  EXPECT_EQ(token.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), token.npos);
  EXPECT_NE(token, other);
  // FIPS 180-2's own example.
  EXPECT_EQ(hash_token("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_TRUE(same_hash(hash_token(token), hash_token(token)));
  EXPECT_FALSE(same_hash(hash_token(token), hash_token(other)));
  EXPECT_FALSE(same_hash("ab", "abc"));
}

TEST(ApiKeyScopes, AreWords) {
  EXPECT_EQ(scopes_text(parse_scopes("chat")), "chat");
  EXPECT_EQ(scopes_text(parse_scopes("admin,chat")), "chat,admin");
  EXPECT_EQ(parse_scopes("chat,admin"), kAllScopes);
  for (const char* text : {"", "chat,", "Chat", "chat admin", "root"}) EXPECT_THROW(parse_scopes(text), Error) << text;
}

TEST(ApiKeyName, IsPrintable) {
  check_key_name("Alice's laptop");
  for (const std::string& name : {std::string(), std::string(65, 'a'), std::string("a\nb"), std::string(" a")})
    EXPECT_THROW(check_key_name(name), Error) << name;
}

TEST(RateLimit, LetsABurstThroughAndThenTheRate) {
  Moment now{seconds(1'000'000)};
  RateLimit limit;
  EXPECT_TRUE(limit.allows(now));  // none
  limit.set(60, now);
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(limit.allows(now)) << i;
    limit.take(1, now);
  }
  EXPECT_FALSE(limit.allows(now));
  EXPECT_DOUBLE_EQ(limit.wait_seconds(now), 1.0);
  EXPECT_EQ(limit.state(now).remaining, 0);
  EXPECT_DOUBLE_EQ(limit.state(now).reset_seconds, 60.0);
  now += std::chrono::milliseconds(999);
  EXPECT_FALSE(limit.allows(now));
  now += std::chrono::milliseconds(2);
  EXPECT_TRUE(limit.allows(now));
  now += seconds(3600);
  EXPECT_EQ(limit.state(now).remaining, 60);  // no more than a minute's worth
}

TEST(RateLimit, DebtIsWaitedFor) {
  Moment now{seconds(1'000'000)};
  RateLimit limit;
  limit.set(600, now);  // ten a second
  limit.take(1000, now);
  EXPECT_DOUBLE_EQ(limit.wait_seconds(now), 40.1);
  EXPECT_FALSE(limit.allows(now - seconds(1000)));  // the clock was set back
  EXPECT_FALSE(limit.allows(now - seconds(970)));
  limit.set(6000, now - seconds(970));  // what was spent stays spent: 700 left of 1000
  EXPECT_EQ(limit.state(now - seconds(970)).remaining, 5300);
}

class KeyRingTest : public ::testing::Test {
 protected:
  KeyRingTest() : database_(Database::open(directory_.path())) {}

  // Without a thread: the tests say when.
  std::unique_ptr<KeyRing> ring(const std::vector<std::string>& given = {}) {
    return std::make_unique<KeyRing>(given, database_,
                                     KeyRingOptions{std::chrono::milliseconds(0), [this] { return now_; }});
  }
  std::string add(const std::string& name, const ApiKeyRow& row = {}) { return add_key(store_, name, row); }
  KeyUsageRow usage(int64_t day) {
    KeyUsageRow sum;
    for (const auto& row : store_.usage_since(day)) {
      if (row.day != day) continue;
      sum.requests += row.requests;
      sum.prompt_tokens += row.prompt_tokens;
      sum.completion_tokens += row.completion_tokens;
    }
    return sum;
  }

  TemporaryDirectory directory_;
  std::shared_ptr<Database> database_;
  ApiKeyStore store_{database_};
  Moment now_{seconds(20'000 * 86'400 + 86'000)};  // 400 s before midnight
};

TEST_F(KeyRingTest, WithoutAnyKeyEveryoneMay) {
  EXPECT_TRUE(KeyRing({}, nullptr).open());
  EXPECT_TRUE(ring()->open());
  EXPECT_FALSE(ring({"a"})->open());
  EXPECT_EQ(ring()->find("anything").key, nullptr);
}

TEST_F(KeyRingTest, GivenKeysMayEverything) {
  const auto keys = ring({"first", "second"});
  for (const char* token : {"first", "second"}) {
    const auto found = keys->find(token);
    ASSERT_TRUE(found.key) << token;
    EXPECT_TRUE(found.key->may(KeyScope::kChat) && found.key->may(KeyScope::kAdmin));
    EXPECT_EQ(found.key->admit().refusal, Admission::Refusal::kNone);
    EXPECT_FALSE(found.key->admit().requests);
  }
  EXPECT_NE(keys->find("first").key->tenant().id, keys->find("second").key->tenant().id);
  EXPECT_EQ(keys->find("first").key->tenant().id, ring({"first"})->find("first").key->tenant().id);
  for (const char* token : {"", "firs", "first ", "FIRST", "third"}) EXPECT_FALSE(keys->find(token).key) << token;
}

TEST_F(KeyRingTest, TakesOverChangesWhileItRuns) {
  const auto keys = ring();
  const std::string alice = add("alice");
  EXPECT_TRUE(keys->open());
  keys->synchronize();
  EXPECT_FALSE(keys->open());
  const auto found = keys->find(alice).key;
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->may(KeyScope::kChat));
  EXPECT_FALSE(found->may(KeyScope::kAdmin));
  add("bob");
  keys->synchronize();
  EXPECT_EQ(keys->find(alice).key, found);  // the same object: limits go on counting
  store_.revoke("alice", 5);
  keys->synchronize();
  EXPECT_FALSE(keys->find(alice).key);
  EXPECT_NE(keys->find(alice).reason.find("revoked"), std::string::npos);
  store_.forget("alice");
  store_.forget("bob");
  keys->synchronize();
  EXPECT_FALSE(keys->open());  // it had keys, so it stays shut
  EXPECT_TRUE(ring()->open());
}

TEST_F(KeyRingTest, TheThreadTakesOverChangesByItself) {
  KeyRing keys({}, database_, {.interval = std::chrono::milliseconds(1)});
  const std::string alice = add("alice");
  while (!keys.find(alice).key) std::this_thread::yield();
  store_.revoke("alice", 5);
  while (keys.find(alice).key) std::this_thread::yield();
}

TEST_F(KeyRingTest, KeysExpire) {
  const auto at = std::chrono::duration_cast<seconds>(now_.time_since_epoch()).count() + 10;
  const std::string token = add("alice", {.expires_at = at});
  const auto keys = ring();
  EXPECT_TRUE(keys->find(token).key);
  now_ += seconds(10);
  EXPECT_FALSE(keys->find(token).key);
  EXPECT_NE(keys->find(token).reason.find("expired"), std::string::npos);
}

TEST_F(KeyRingTest, RequestsAMinute) {
  const std::string token = add("alice", {.requests_per_minute = 2});
  const auto keys = ring();
  const auto key = keys->find(token).key;
  EXPECT_EQ(key->admit().requests->remaining, 1);
  EXPECT_EQ(key->admit().requests->remaining, 0);
  const Admission refused = key->admit();
  EXPECT_EQ(refused.refusal, Admission::Refusal::kRequests);
  EXPECT_DOUBLE_EQ(refused.retry_seconds, 30.0);
  EXPECT_EQ(refused.limit, 2);
  now_ += seconds(30);
  EXPECT_EQ(key->admit().refusal, Admission::Refusal::kNone);
  keys->synchronize();
  EXPECT_EQ(usage(20'000).requests, 3);  // the refused one is not counted
}

TEST_F(KeyRingTest, TokensAMinute) {
  const std::string token = add("alice", {.tokens_per_minute = 60});
  const auto key = ring()->find(token).key;
  EXPECT_EQ(key->admit().tokens->remaining, 60);
  key->spend(50, 40);
  const Admission refused = key->admit();
  EXPECT_EQ(refused.refusal, Admission::Refusal::kTokens);
  EXPECT_DOUBLE_EQ(refused.retry_seconds, 31.0);
  now_ += seconds(31);
  EXPECT_EQ(key->admit().refusal, Admission::Refusal::kNone);
}

TEST_F(KeyRingTest, TokensADayUntilMidnightAndOverARestart) {
  const std::string token = add("alice", {.tokens_per_day = 100});
  auto keys = ring();
  keys->find(token).key->admit();
  keys->find(token).key->spend(30, 60);
  keys.reset();  // writes
  EXPECT_EQ(usage(20'000).prompt_tokens, 30);
  EXPECT_EQ(usage(20'000).completion_tokens, 60);
  keys = ring();
  const auto key = keys->find(token).key;
  EXPECT_EQ(key->admit().refusal, Admission::Refusal::kNone);
  key->spend(10, 0);
  keys->synchronize();  // what is in the store is not counted twice
  const Admission refused = key->admit();
  EXPECT_EQ(refused.refusal, Admission::Refusal::kQuota);
  EXPECT_DOUBLE_EQ(refused.retry_seconds, 400.0);
  now_ += seconds(400);
  EXPECT_EQ(key->admit().refusal, Admission::Refusal::kNone);
  key->spend(1, 1);
  keys->synchronize();
  EXPECT_EQ(usage(20'000).prompt_tokens, 40);
  EXPECT_EQ(usage(20'001).prompt_tokens, 1);
}

TEST_F(KeyRingTest, TwoServersShareAQuota) {
  const std::string token = add("alice", {.tokens_per_day = 100});
  const auto first = ring(), second = ring();
  first->find(token).key->spend(60, 0);
  second->find(token).key->spend(60, 0);
  first->synchronize();
  second->synchronize();
  EXPECT_EQ(usage(20'000).prompt_tokens, 120);
  EXPECT_EQ(ring()->find(token).key->admit().refusal, Admission::Refusal::kQuota);
}

TEST_F(KeyRingTest, WhatCannotBeWrittenWaits) {
  const std::string token = add("alice", {.tokens_per_day = 100});
  const auto keys = ring();
  keys->find(token).key->spend(60, 0);
  database_->write([](soci::session& session) { session << "ALTER TABLE key_usage RENAME TO away"; });
  EXPECT_THROW(keys->synchronize(), Error);
  EXPECT_TRUE(keys->find(token).key);  // as last known
  keys->find(token).key->spend(20, 0);
  database_->write([](soci::session& session) { session << "ALTER TABLE away RENAME TO key_usage"; });
  keys->synchronize();
  EXPECT_EQ(usage(20'000).prompt_tokens, 80);
}

TEST_F(KeyRingTest, CountsFromManyThreads) {
  const std::string token = add("alice", {.requests_per_minute = 100});
  const auto keys = ring();
  std::atomic<int> admitted = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j) {
        const auto key = keys->find(token).key;
        if (key->admit().refusal == Admission::Refusal::kNone) ++admitted;
        key->spend(1, 2);
        if (j % 10 == 0) keys->synchronize();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  keys->synchronize();
  EXPECT_EQ(admitted, 100);
  EXPECT_EQ(usage(20'000).requests, 100);
  EXPECT_EQ(usage(20'000).completion_tokens, 400);
}

}  // namespace
}  // namespace carronade
