#include "hub/progress.h"

#include <gtest/gtest.h>

namespace carronade {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const ProgressMeter::TimePoint kStart{};

TEST(ProgressMeter, SaysSpeedAndTimeLeft) {
  ProgressMeter meter;
  for (uint64_t i = 0; i <= 4; ++i) meter.update(i * 10'000'000, 100'000'000, kStart + seconds(i));
  EXPECT_DOUBLE_EQ(meter.bytes_per_second(), 1e7);
  EXPECT_EQ(meter.time_left(), seconds(6));
  EXPECT_EQ(meter.line(), " 40 %  40.0 MB of 100 MB  10.0 MB/s  0:06 left");
}

TEST(ProgressMeter, WhatAnEarlierRunLeftIsNoSpeed) {
  ProgressMeter meter;
  meter.update(500'000'000, 1'000'000'000, kStart);
  EXPECT_EQ(meter.bytes_per_second(), 0);
  EXPECT_FALSE(meter.time_left());
  meter.update(501'000'000, 1'000'000'000, kStart + seconds(1));
  EXPECT_DOUBLE_EQ(meter.bytes_per_second(), 1e6);
}

TEST(ProgressMeter, AnOldSpeedIsForgotten) {
  ProgressMeter meter;
  meter.update(0, 1'000'000'000, kStart);
  meter.update(900'000'000, 1'000'000'000, kStart + seconds(1));
  for (int i = 2; i < 60; ++i) meter.update(900'000'000, 1'000'000'000, kStart + seconds(i));
  EXPECT_EQ(meter.bytes_per_second(), 0);
  EXPECT_FALSE(meter.time_left());
}

TEST(ProgressMeter, AFreshStartIsNoNegativeSpeed) {
  ProgressMeter meter;
  meter.update(0, 1000, kStart);
  meter.update(900, 1000, kStart + seconds(1));
  meter.update(0, 1000, kStart + seconds(2));
  meter.update(100, 1000, kStart + seconds(3));
  EXPECT_DOUBLE_EQ(meter.bytes_per_second(), 100);
}

TEST(ProgressMeter, SizesThatLieDoNotBreakIt) {
  ProgressMeter meter;
  meter.update(0, 0, kStart);
  EXPECT_FALSE(meter.fraction());
  meter.update(2000, 1000, kStart + seconds(1));
  EXPECT_EQ(meter.fraction(), 1.0);
  EXPECT_FALSE(meter.time_left());
  meter.update(UINT64_MAX, std::nullopt, kStart + seconds(2));
  EXPECT_FALSE(meter.line().empty());
}

TEST(ProgressMeter, ManyUpdatesInAnInstantTakeNoMemory) {
  ProgressMeter meter;
  for (uint64_t i = 0; i < 1'000'000; ++i) meter.update(i, std::nullopt, kStart + milliseconds(i / 1000));
  EXPECT_GT(meter.bytes_per_second(), 0);
}

TEST(ProgressMeter, TheBarFitsItsLine) {
  ProgressMeter meter;
  meter.update(500'000, 1'000'000, kStart);
  EXPECT_EQ(meter.bar(20).find("█"), std::string::npos);
  const std::string wide = meter.bar(100);
  EXPECT_NE(wide.find("█░"), std::string::npos);
  EXPECT_TRUE(meter.bar(0).empty());
}

TEST(FormatBytes, ThreeDigits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "1.00 kB");
  EXPECT_EQ(format_bytes(98'362'432), "98.4 MB");
  EXPECT_EQ(format_bytes(999'999), "1.00 MB");
  EXPECT_EQ(format_bytes(1'117'320'768), "1.12 GB");
  EXPECT_EQ(format_bytes(UINT64_MAX), "18.4 EB");
}

TEST(FormatDuration, MinutesAndHours) {
  EXPECT_EQ(format_duration(seconds(7)), "0:07");
  EXPECT_EQ(format_duration(seconds(3723)), "1:02:03");
}

}  // namespace
}  // namespace carronade
