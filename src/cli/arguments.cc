#include "cli/arguments.h"

#include <algorithm>
#include <utility>

#include "api/json_fields.h"

namespace carronade {

namespace {
// vLLM's abbreviations of several letters, which no parser of one-letter flags would take for what they are.
constexpr std::pair<std::string_view, std::string_view> kAbbreviations[] = {{"-tp", "--tensor-parallel-size"},
                                                                            {"-pp", "--pipeline-parallel-size"},
                                                                            {"-dp", "--data-parallel-size"},
                                                                            {"-asc", "--api-server-count"}};
}  // namespace

std::vector<std::string> normalize_arguments(const std::vector<std::string>& arguments) {
  std::vector<std::string> result;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string argument = arguments[i];
    if (argument == "--") {
      result.insert(result.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i), arguments.end());
      break;
    }
    for (const auto& [abbreviation, name] : kAbbreviations) {
      if (argument.substr(0, argument.find('=')) == abbreviation) argument.replace(0, abbreviation.size(), name);
    }
    if (!argument.starts_with("--")) {
      result.push_back(std::move(argument));
      continue;
    }
    const size_t end = std::min(argument.size(), argument.find_first_of("= \t\n"));
    std::replace(argument.begin(), argument.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
    if (end == argument.size() || argument[end] == '=') {
      result.push_back(std::move(argument));
      continue;
    }
    result.push_back(argument.substr(0, end));
    const size_t value = argument.find_first_not_of(" \t\n", end);
    if (value != std::string::npos) result.push_back(argument.substr(value));
  }
  return result;
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  return std::string(nearest_spelling(word, {candidates.begin(), candidates.end()}));
}

}  // namespace carronade
