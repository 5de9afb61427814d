#include "cli/serve_access.h"

#include <algorithm>
#include <cstdlib>

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace carronade {

namespace {

std::vector<std::string> keys_of(const AccessFlags& flags) {
  if (!flags.api_keys.empty()) return flags.api_keys;
  for (const char* name : {"CARRONADE_API_KEY", "VLLM_API_KEY"}) {
    const char* value = std::getenv(name);
    if (value && *value) return {value};
  }
  return {};
}

std::shared_ptr<Database> open_database(const std::string& data_dir) {
  if (!data_dir.empty()) return Database::open(data_dir);
  const std::filesystem::path folder = default_data_dir();
  std::error_code ignored;
  const bool there = std::filesystem::exists(Database::file_in(folder), ignored);
  try {
    return Database::open(folder);
  } catch (const Error& error) {
    if (there) throw;  // it may hold keys that everyone must have
    spdlog::warn("there is no store for API keys and their usage: {} (--data-dir names a folder for it)", error.what());
    return nullptr;
  }
}

}  // namespace

void add_access_flags(CLI::App& command, AccessFlags& flags) {
  command
      .add_option("--api-key", flags.api_keys,
                  "Key that every request must carry (or CARRONADE_API_KEY, VLLM_API_KEY); may be given several times. "
                  "`carronade key` makes keys with names and limits")
      ->allow_extra_args(false)
      ->type_name("KEY")
      ->check([](const std::string& key) {
        return key.empty() ? std::string("the key is empty: leave the flag out, or give one") : std::string();
      });
}

std::vector<std::string> repeat_api_key(const std::vector<std::string>& arguments) {
  std::vector<std::string> result;
  bool named = false;  // a word before any flag, or --model
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    named =
        named || (i == 1 && !argument.starts_with("-")) || argument.starts_with("--model=") || argument == "--model";
    result.push_back(argument);
    if (argument != "--api-key" || !named || arguments.front() != "serve") continue;
    for (bool first = true; i + 1 < arguments.size() && !arguments[i + 1].starts_with("-"); first = false) {
      if (!first) result.push_back(argument);
      result.push_back(arguments[++i]);
    }
  }
  return result;
}

std::shared_ptr<KeyRing> open_key_ring(const AccessFlags& flags, const std::string& data_dir) {
  return std::make_shared<KeyRing>(keys_of(flags), open_database(data_dir));
}

}  // namespace carronade
