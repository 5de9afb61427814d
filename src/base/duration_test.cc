#include "base/duration.h"

#include <gtest/gtest.h>

namespace carronade {
namespace {

using std::chrono::milliseconds;

TEST(Duration, IsReadAsGoWritesIt) {
  const std::pair<const char*, int64_t> kTimes[] = {
      {"5m", 300'000}, {"1h30m", 5'400'000},  {"1.5s", 1'500}, {"300ms", 300}, {"90", 90'000}, {"0", 0}, {"0s", 0},
      {"-0", 0},       {"1h0.5s", 3'600'500}, {"+2s", 2'000},  {".5s", 500}};
  for (const auto& [text, expected] : kTimes) EXPECT_EQ(parse_duration(text), milliseconds(expected)) << text;
  for (const char* text : {"-1", "-5m", "-1.5h", "1e3h", "99999999999h"}) {
    const auto duration = parse_duration(text);
    if (std::string_view(text) == "1e3h") {
      EXPECT_FALSE(duration) << text;
    } else {
      EXPECT_EQ(duration, kForever) << text;
    }
  }
  for (const char* text : {"", "-", "m", "5 m", "5x", "5m3", "3 5m", "nan", "inf", "1..5s", "--5m", "5m-3s", "0x10"})
    EXPECT_FALSE(parse_duration(text)) << text;
  EXPECT_EQ(duration_of_seconds(0.25), milliseconds(250));
  EXPECT_EQ(duration_of_seconds(-1), kForever);
}

TEST(Duration, HasABorderPastWhichItIsForEver) {
  for (const char* text : {"4000000000", "4000000000s", "1111111h", "66666666m", "4000000000000ms"}) {
    const auto duration = parse_duration(text);
    ASSERT_TRUE(duration && *duration < kForever) << text;
    EXPECT_GT(duration_cast<std::chrono::nanoseconds>(*duration).count(), 0) << text;
    EXPECT_GT((std::chrono::system_clock::now() + *duration).time_since_epoch().count(), 0) << text;
  }
  for (const char* text : {"4000000001", "1111112h", "2562047h", "2562048h", "10000000000", "100000000h",
                           "999999999999", "9223372036854775807", "99999999999999999999ms"})
    EXPECT_EQ(parse_duration(text), kForever) << text;
  EXPECT_EQ(duration_of_seconds(4e9), milliseconds(4'000'000'000'000));
  EXPECT_EQ(duration_of_seconds(1e10), kForever);
  EXPECT_EQ(duration_of_seconds(1e300), kForever);
}

TEST(Duration, IsWrittenShort) {
  for (const char* text : {"5m", "1h30m", "1.5s", "0s", "24h"}) EXPECT_EQ(duration_text(*parse_duration(text)), text);
  EXPECT_EQ(duration_text(kForever), "for ever");
}

}  // namespace
}  // namespace carronade
