#include "cli/key_flags.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace carronade {
namespace {

constexpr int64_t kNow = 1'795'000'000;  // 2026-11-18 11:06:40 UTC

TEST(KeyFlags, ReadsSpansAndDates) {
  EXPECT_EQ(parse_expiry("90m", kNow), kNow + 5400);
  EXPECT_EQ(parse_expiry("12h", kNow), kNow + 12 * 3600);
  EXPECT_EQ(parse_expiry("30d", kNow), kNow + 30 * 86400);
  EXPECT_EQ(parse_expiry("8w", kNow), kNow + 56 * 86400);
  EXPECT_EQ(parse_expiry("2027-01-31", kNow), 1'801'353'600);
  EXPECT_EQ(parse_expiry("2027-01-31T18:00:05Z", kNow), 1'801'353'600 + 18 * 3600 + 5);
  EXPECT_EQ(time_text(1'801'353'600 + 18 * 3600 + 5), "2027-01-31 18:00");
}

TEST(KeyFlags, RefusesWhatIsNoTimeToCome) {
  for (const char* text : {"", "d", "30", "-1d", "0d", "1.5h", "30 d", "9999999999999d", "2027-02-30", "2027-01-31x",
                           "2027-01-31T18:00:05", "tomorrow", "2026-11-18", "1999-01-01"}) {
    EXPECT_THROW(parse_expiry(text, kNow), Error) << text;
  }
}

TEST(KeyFlags, ReadsCounts) {
  EXPECT_EQ(parse_limit("1", "--quota"), 1);
  EXPECT_EQ(parse_limit("100k", "--quota"), 100'000);
  EXPECT_EQ(parse_limit("2M", "--quota"), 2'000'000);
  for (const char* text : {"", "k", "0", "-1", "1.5k", "1e6", "10 k", "99999999999999999999", "9999999999G"}) {
    EXPECT_THROW(parse_limit(text, "--quota"), Error) << text;
  }
}

}  // namespace
}  // namespace carronade
