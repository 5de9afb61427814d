#include "base/structured_log.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <algorithm>
#include <functional>
#include <sstream>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace carronade {
namespace {

// What `log` writes, in this format.
std::string logged(LogFormat format, const std::function<void()>& log) {
  std::ostringstream out;
  auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(out));
  logger->set_formatter(make_log_formatter(format));
  logger->set_level(spdlog::level::info);
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(logger);
  log();
  spdlog::set_default_logger(before);
  return out.str();
}

void some_event() {
  log_event(spdlog::level::info, "it \"happened\"",
            {{"path", std::string_view("/a b")},
             {"id", std::string_view("x7")},
             {"status", int64_t{200}},
             {"seconds", 0.25}});
}

TEST(StructuredLog, FieldsAsText) {
  const std::string line = logged(LogFormat::kText, some_event);
  EXPECT_TRUE(line.ends_with("info it \"happened\" path=\"/a b\" id=x7 status=200 seconds=0.25\n")) << line;
}

TEST(StructuredLog, FieldsAsJson) {
  const std::string line = logged(LogFormat::kJson, some_event);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["level"], "info");
  EXPECT_EQ(json["message"], "it \"happened\"");
  EXPECT_EQ(json["path"], "/a b");
  EXPECT_EQ(json["status"], 200);
  EXPECT_EQ(json["seconds"], 0.25);
  EXPECT_EQ(json["time"].get<std::string>().size(), std::string("2026-11-23T00:45:38.643Z").size());
}

TEST(StructuredLog, OneEventIsOneLineWhateverItHolds) {
  const std::string hostile = "a\nb\x1e\"\x1b[31m\xff{}";
  const std::string line = logged(LogFormat::kJson, [&] {
    log_event(spdlog::level::warn, "m", {{"path", std::string_view(hostile)}});
    spdlog::warn("{}", hostile);
    log_event(spdlog::level::debug, "not shown", {});
  });
  std::istringstream lines(line);
  int count = 0;
  for (std::string each; std::getline(lines, each); ++count) EXPECT_TRUE(nlohmann::json::accept(each)) << each;
  EXPECT_EQ(count, 2);
  const std::string text = logged(LogFormat::kText, [&] {
    spdlog::warn("{}", hostile);
    log_event(spdlog::level::warn, "m", {{"path", std::string_view(hostile)}});
  });
  EXPECT_NE(text.find("a?b?\"?[31m\xff{}\n"), text.npos) << text;
  EXPECT_EQ(std::ranges::count(text, '\n'), 2);
  EXPECT_EQ(text.find('\x1b'), text.npos);
}

TEST(StructuredLog, RefusesOtherNames) {
  EXPECT_EQ(parse_log_format("json"), LogFormat::kJson);
  EXPECT_THROW(parse_log_format("xml"), Error);
  EXPECT_THROW(set_up_logging("loud"), Error);
}

}  // namespace
}  // namespace carronade
