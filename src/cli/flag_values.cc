#include "cli/flag_values.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>

#include "api/json_fields.h"
#include "base/duration.h"
#include "base/error.h"
#include "cli/open_model.h"

namespace carronade {

namespace {

constexpr std::string_view kDigits = "0123456789";

bool is_whole_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of(kDigits) == std::string::npos;
}

// "12", "1.5". Nothing for other writings, exponents and signs among them.
std::optional<double> decimal(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc() || end != text.data() + text.size() || !std::isdigit(static_cast<unsigned char>(text[0])))
    return std::nullopt;
  return value;
}

}  // namespace

uint16_t parse_port(const std::string& text, const std::string& flag) {
  if (is_whole_number(text) && text.size() <= 6 && std::stol(text) <= 65535)
    return static_cast<uint16_t>(std::stol(text));
  std::string line = flag + " must be a port from 0 to 65535, not " + text;
  // Kubernetes sets it to an address for every service of that name.
  if (text.starts_with("tcp://"))
    line += "; a service named \"vllm\" makes Kubernetes set VLLM_PORT: rename it, or give --port";
  throw Error(ErrorCode::kInvalidArgument, line, flag);
}

uint64_t parse_size(const std::string& text, const std::string& flag) {
  static const std::map<std::string, double> kUnits = {
      {"", 1},         {"B", 1},        {"K", 0x1p10},   {"M", 0x1p20}, {"G", 0x1p30}, {"T", 0x1p40}, {"KIB", 0x1p10},
      {"MIB", 0x1p20}, {"GIB", 0x1p30}, {"TIB", 0x1p40}, {"KB", 1e3},   {"MB", 1e6},   {"GB", 1e9},   {"TB", 1e12}};
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::optional<double> number = decimal(std::string_view(text).substr(0, digits));
  std::string unit = text.substr(digits);
  unit.erase(0, unit.find_first_not_of(' '));
  std::ranges::transform(unit, unit.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  const auto found = kUnits.find(unit);
  if (!number || found == kUnits.end() || *number * found->second > 0x1p62)
    throw Error(ErrorCode::kInvalidArgument, flag + " must be a size such as 4GiB or 500MB, not " + text, flag);
  return static_cast<uint64_t>(*number * found->second);
}

int parse_count(const std::string& text, const std::string& flag) {
  static const std::map<char, double> kUnits = {{'k', 1e3},    {'m', 1e6},    {'g', 1e9},    {'t', 1e12},
                                                {'K', 0x1p10}, {'M', 0x1p20}, {'G', 0x1p30}, {'T', 0x1p40}};
  const auto unit = text.empty() ? kUnits.end() : kUnits.find(text.back());
  const std::string digits = unit == kUnits.end() ? text : text.substr(0, text.size() - 1);
  const bool takes_fraction = unit != kUnits.end() && std::islower(static_cast<unsigned char>(unit->first));
  const std::optional<double> number = takes_fraction || is_whole_number(digits) ? decimal(digits) : std::nullopt;
  if (!number)
    throw Error(ErrorCode::kInvalidArgument, flag + " must be a whole number such as 4096, 8k or 8K, not " + text,
                flag);
  const double value = std::floor(*number * (unit == kUnits.end() ? 1 : unit->second) + 1e-6);  // 25.6k is exact
  if (value > std::numeric_limits<int>::max())
    throw Error(ErrorCode::kInvalidArgument, flag + " is too large: " + text, flag);
  return static_cast<int>(value);
}

int parse_model_length(const std::string& text) {
  if (text == "auto" || text == "-1") return kLongestThatFits;
  return parse_count(text, "--max-model-len");
}

int speculative_tokens(const std::string& config) {
  constexpr const char* kFlag = "--speculative-config";
  if (config.empty()) return kGuessedTokens;
  if (config == "0") return 0;
  const Json json = parse_json_object(config, kFlag);
  for (const auto& [name, value] : json.items()) {
    const bool known = name == "method" || name == "num_speculative_tokens" || name.starts_with("prompt_lookup_");
    if (!known) throw Error(ErrorCode::kInvalidArgument, name + " is not supported in --speculative-config", kFlag);
  }
  const JsonFields fields(json, std::string(kFlag) + ": ");
  if (const std::string method = fields.string("method").value_or("ngram"); method != "ngram") {
    throw Error(ErrorCode::kInvalidArgument,
                "--speculative-config: the method \"" + method + "\" is not supported; \"ngram\" is", kFlag);
  }
  return static_cast<int>(fields.integer("num_speculative_tokens", 0, 16).value_or(kGuessedTokens));
}

std::chrono::milliseconds parse_keep_alive(const std::string& text) {
  if (const auto duration = parse_duration(text)) return *duration;
  throw Error(ErrorCode::kInvalidArgument,
              "--keep-alive must be a duration such as 5m, 90 (seconds), 0 or -1 (for ever), not " + text,
              "--keep-alive");
}

std::vector<AdapterSource> adapter_sources(const std::vector<std::string>& modules) {
  constexpr const char* kFlag = "--lora-modules";
  std::vector<AdapterSource> sources;
  for (const std::string& text : modules) {
    AdapterSource source;
    if (text.starts_with("{")) {
      const Json json = parse_json_object(text, kFlag);
      const JsonFields fields(json, std::string(kFlag) + ": ");
      source = {fields.string("name").value_or(""), fields.string("path").value_or(""),
                fields.string("base_model_name").value_or("")};
    } else if (const size_t equals = text.find('='); equals != text.npos) {
      source = {text.substr(0, equals), text.substr(equals + 1), {}};
    }
    if (source.name.empty() || source.path.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "--lora-modules must be NAME=PATH or {\"name\": …, \"path\": …}, not " + text, kFlag);
    }
    sources.push_back(std::move(source));
  }
  return sources;
}

}  // namespace carronade
