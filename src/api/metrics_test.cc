#include "api/metrics.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>

namespace carronade {
namespace {

using Kind = MetricsText::Kind;

TEST(MetricsText, WritesWhatTheFormatSays) {
  MetricsText text;
  text.family("a_total", Kind::kCounter, "Counts.");
  text.sample({}, uint64_t{18'000'000'000'000'000'001u});
  text.sample({{"x", "1"}, {"y", "z"}}, 0.5);
  Histogram histogram({0.5, 1, 1e6});
  for (const double value : {0.25, 1.0, 7.0}) histogram.observe(value);
  text.family("h", Kind::kHistogram, "Spreads.");
  text.histogram({{"x", "1"}}, histogram.values());
  EXPECT_EQ(text.take(),
            "# HELP a_total Counts.\n"
            "# TYPE a_total counter\n"
            "a_total 18000000000000000001\n"
            "a_total{x=\"1\",y=\"z\"} 0.5\n"
            "# HELP h Spreads.\n"
            "# TYPE h histogram\n"
            "h_bucket{x=\"1\",le=\"0.5\"} 1\n"
            "h_bucket{x=\"1\",le=\"1.0\"} 2\n"
            "h_bucket{x=\"1\",le=\"1e+06\"} 3\n"
            "h_bucket{x=\"1\",le=\"+Inf\"} 3\n"
            "h_sum{x=\"1\"} 8.25\n"
            "h_count{x=\"1\"} 3\n");
}

TEST(MetricsText, EscapesLabels) {
  MetricsText text;
  text.family("a", Kind::kGauge, "A.");
  text.sample({{"x", "back\\slash \"quoted\"\nline\ttab \xff ü"}}, 1.0);
  EXPECT_NE(text.take().find("{x=\"back\\\\slash \\\"quoted\\\"\\nline\ttab \xEF\xBF\xBD ü\"} 1\n"), std::string::npos);
}

// Every family once, with its help and type before its samples: a scraper refuses anything else as a whole.
TEST(EngineMetricsText, NamesEveryFamilyOnceForSeveralModels) {
  EngineMetrics first(100), second(1000);
  second.prompt_tokens.add(5);
  second.drafts_checked(3, 2);
  EngineReading a, b;
  a.model_name = "a";
  a.metrics = &first;
  b.model_name = "b";
  b.metrics = &second;
  b.options.speculative_tokens = 3;
  b.options.kv_disk_bytes = 1;
  b.stats.blocks_total = 8;
  b.stats.blocks_used = 2;
  b.stats.blocks_cached = 1;
  MetricsText text;
  write_engine_metrics(text, {a, b});
  write_http_metrics(text, {{"/v1/models", "GET", {{"2xx", 3}}, Histogram({1}).values()}}, 4);
  write_process_metrics(text, process_usage(), "1.2.3");
  const std::string all = text.take();

  std::set<std::string> families;
  std::string family;
  std::istringstream lines(all);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string mark, kind, name;
    if (line.starts_with("# ")) {
      words >> mark >> kind >> name;
      if (kind == "HELP") {
        EXPECT_TRUE(families.insert(name).second) << name << " comes twice";
        family = name;
      }
      EXPECT_EQ(name, family);
    } else {
      EXPECT_TRUE(line.starts_with(family)) << line;
    }
  }
  for (const char* line : {
           "vllm:prompt_tokens_total{model_name=\"a\",engine=\"0\"} 0\n",
           "vllm:prompt_tokens_total{model_name=\"b\",engine=\"0\"} 5\n",
           "vllm:kv_cache_usage_perc{model_name=\"b\",engine=\"0\"} 0.25\n",
           "vllm:request_success_total{model_name=\"a\",engine=\"0\",finished_reason=\"abort\"} 0\n",
           "carronade:kv_blocks{model_name=\"b\",engine=\"0\",state=\"free\"} 5\n",
           "vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name=\"b\",engine=\"0\",position=\"1\"} 1\n",
           "vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name=\"b\",engine=\"0\",position=\"2\"} 0\n",
           "http_requests_total{handler=\"/v1/models\",method=\"GET\",status=\"2xx\"} 3\n",
           "carronade:running_answers 4\n",
           "carronade:build_info{version=\"1.2.3\"} 1\n",
       })
    EXPECT_NE(all.find(line), std::string::npos) << line << all;
  EXPECT_EQ(all.find("spec_decode_num_drafts_total{model_name=\"a\""), std::string::npos);
}

TEST(EngineMetricsText, HasNothingWithoutAModel) {
  MetricsText text;
  write_engine_metrics(text, {});
  EXPECT_EQ(text.take(), "");
}

}  // namespace
}  // namespace carronade
