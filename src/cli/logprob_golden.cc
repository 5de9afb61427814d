#include "cli/logprob_golden.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "cli/evaluation.h"

namespace carronade {
namespace {

using nlohmann::json;
static_assert(std::endian::native == std::endian::little);

constexpr int kMaxTop = 4096;

[[noreturn]] void corrupt(const std::filesystem::path& path, std::string_view what) {
  throw_error(ErrorCode::kCorruptFile, "{}: {}", path.string(), what);
}

// Takes `count` elements off the front of `bytes`.
template <typename T>
std::vector<T> take(std::string_view& bytes, size_t count, const std::filesystem::path& path) {
  if (count > bytes.size() / sizeof(T)) corrupt(path, "it ends early");
  std::vector<T> values(count);
  std::memcpy(values.data(), bytes.data(), count * sizeof(T));
  bytes.remove_prefix(count * sizeof(T));
  return values;
}

float read_head(const json& head, LogprobGolden& golden, const std::filesystem::path& path) {
  if (head.at("format") != "carronade-logprobs" || head.at("version") != 1)
    corrupt(path, "not a golden of log-probabilities, version 1");
  golden.model = head.at("model").get<std::string>();
  golden.oracle = head.at("oracle").get<std::string>();
  golden.names = head.at("names").get<std::vector<std::string>>();
  golden.sequences = head.at("sequences").get<std::vector<std::vector<TokenId>>>();
  golden.top = head.at("top").get<int>();
  const auto unit = head.at("unit").get<float>();
  const bool fits = golden.names.size() == golden.sequences.size() && golden.top >= 1 && golden.top <= kMaxTop &&
                    std::isfinite(unit) && unit > 0;
  if (!fits) corrupt(path, "its first line contradicts itself");
  for (const auto& sequence : golden.sequences) {
    if (sequence.size() < 2) corrupt(path, "a sequence of fewer than two tokens");
  }
  return unit;
}

}  // namespace

LogprobGolden LogprobGolden::read(const std::filesystem::path& path) {
  const std::string content = read_file(path);
  const size_t line = content.find('\n');
  LogprobGolden golden;
  float unit = 0;
  try {
    unit = read_head(json::parse(content.substr(0, line)), golden, path);
  } catch (const json::exception&) {
    corrupt(path, "not a golden of log-probabilities: its first line cannot be read");
  }
  if (line == std::string::npos) corrupt(path, "it ends early");
  std::string_view bytes = std::string_view(content).substr(line + 1);
  size_t positions = 0;
  for (const auto& sequence : golden.sequences) positions += sequence.size() - 1;
  const size_t listed = positions * static_cast<size_t>(golden.top);
  golden.tokens = take<TokenId>(bytes, listed, path);
  const auto steps = take<uint16_t>(bytes, listed, path);
  golden.logprobs.reserve(steps.size());
  for (const uint16_t step : steps) golden.logprobs.push_back(-unit * static_cast<float>(step));
  golden.rest = take<float>(bytes, positions, path);
  golden.actual = take<float>(bytes, positions, path);
  if (!bytes.empty()) corrupt(path, "it is longer than its first line says");
  const auto number = [](float value) { return !std::isnan(value) && value <= 0; };
  if (!std::all_of(golden.rest.begin(), golden.rest.end(), number) ||
      !std::all_of(golden.actual.begin(), golden.actual.end(), number))
    corrupt(path, "a log-probability above 0");
  return golden;
}

double divergence(const LogprobGolden& golden, size_t position, std::span<const float> logits, double log_sum,
                  std::vector<float>& scratch) {
  const auto tokens = golden.tokens_at(position);
  const auto logprobs = golden.logprobs_at(position);
  for (const TokenId token : tokens) {
    if (token < 0 || static_cast<size_t>(token) >= logits.size())
      throw_error(ErrorCode::kInvalidArgument, "the golden names token {}, which the model has not", token);
  }
  // Rounded as they are in the file, they sum to almost 1: what is missing would shift every divergence.
  double mass = std::exp(static_cast<double>(golden.rest[position]));
  for (const float logprob : logprobs) mass += std::exp(static_cast<double>(logprob));
  const double log_mass = std::log(mass);
  double sum = 0;
  const auto add = [&](double oracle, double model) {
    const double p = std::exp(oracle - log_mass);
    if (p > 0) sum += p * (oracle - log_mass - model);
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    add(static_cast<double>(logprobs[i]), static_cast<double>(logits[static_cast<size_t>(tokens[i])]) - log_sum);
  }
  add(static_cast<double>(golden.rest[position]), log_rest(logits, log_sum, tokens, scratch));
  return std::max(sum, 0.0);  // rounding
}

}  // namespace carronade
