// carronade key add | list | revoke
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/key_flags.h"
#include "cli/model_json.h"
#include "store/api_keys.h"
#include "workspace/api_key.h"

namespace carronade {
namespace {

struct KeyFlags {
  std::string name, data_dir, scopes = "chat", quota, requests, tokens, expires;
  bool json = false, all = false, forget = false;
};

int64_t seconds_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

ApiKeyStore open_store(const KeyFlags& flags) {
  return ApiKeyStore(
      Database::open(flags.data_dir.empty() ? default_data_dir() : std::filesystem::path(flags.data_dir)));
}

Json limit_json(int64_t limit) { return limit > 0 ? Json(limit) : Json(nullptr); }
Json time_json(int64_t seconds) { return seconds > 0 ? Json(seconds) : Json(nullptr); }

Json key_json(const ApiKeyRow& row) {
  return {{"name", row.name},
          {"hint", row.hint},
          {"scopes", scopes_text(row.scopes)},
          {"tokens_per_day", limit_json(row.tokens_per_day)},
          {"requests_per_minute", limit_json(row.requests_per_minute)},
          {"tokens_per_minute", limit_json(row.tokens_per_minute)},
          {"created_at", row.created_at},
          {"expires_at", time_json(row.expires_at)},
          {"revoked_at", time_json(row.revoked_at)}};
}

void add(const KeyFlags& flags) {
  ApiKeyRow row;
  check_key_name(flags.name);
  row.name = flags.name;
  row.scopes = parse_scopes(flags.scopes);
  row.created_at = seconds_now();
  if (!flags.quota.empty()) row.tokens_per_day = parse_limit(flags.quota, "--quota");
  if (!flags.requests.empty()) row.requests_per_minute = parse_limit(flags.requests, "--requests-per-minute");
  if (!flags.tokens.empty()) row.tokens_per_minute = parse_limit(flags.tokens, "--tokens-per-minute");
  if (!flags.expires.empty()) row.expires_at = parse_expiry(flags.expires, row.created_at);
  const std::string token = make_token();
  row.id = make_key_id();
  row.hash = hash_token(token);
  row.hint = token_hint(token);
  open_store(flags).add(row);
  if (flags.json) {
    Json json = key_json(row);
    json["token"] = token;
    print_json(json);
    return;
  }
  // The token alone on standard output, so that it can be put where it belongs by a pipe.
  fmt::print("{}\n", token);
  if (::isatty(STDERR_FILENO)) {
    fmt::print(stderr, "This is the only time that the key is shown. A running server takes it within a second.\n");
  }
}

std::string state_of(const ApiKeyRow& row, int64_t now) {
  if (row.revoked_at > 0) return "revoked " + time_text(row.revoked_at);
  if (row.expires_at > 0 && row.expires_at <= now) return "expired " + time_text(row.expires_at);
  return row.expires_at > 0 ? "until " + time_text(row.expires_at) : "active";
}

void list(const KeyFlags& flags) {
  const ApiKeyStore store = open_store(flags);
  const int64_t now = seconds_now(), today = now / 86400;
  std::map<int64_t, KeyUsageRow> used;
  for (const KeyUsageRow& row : store.usage_since(today)) used[row.key_id] = row;
  std::vector<ApiKeyRow> rows = store.list();
  if (!flags.all) std::erase_if(rows, [](const ApiKeyRow& row) { return row.revoked_at > 0; });
  if (flags.json) {
    Json json = Json::array();
    for (const ApiKeyRow& row : rows) {
      const KeyUsageRow& usage = used[row.id];
      json.push_back(key_json(row));
      json.back()["today"] = {{"requests", usage.requests},
                              {"prompt_tokens", usage.prompt_tokens},
                              {"completion_tokens", usage.completion_tokens}};
    }
    print_json(json);
    return;
  }
  size_t width = 12;
  for (const ApiKeyRow& row : rows) width = std::max(width, row.name.size());
  const auto limit = [](int64_t value) { return value > 0 ? std::to_string(value) : std::string("-"); };
  fmt::print("{:<{}}  {:<8}  {:<10}  {:>12}  {:>12}  {:>8}  {:>10}  {}\n", "NAME", width, "KEY", "SCOPES",
             "TOKENS TODAY", "OF (A DAY)", "REQ/MIN", "TOKENS/MIN", "STATE (UTC)");
  for (const ApiKeyRow& row : rows) {
    const KeyUsageRow& usage = used[row.id];
    fmt::print("{:<{}}  {:<8}  {:<10}  {:>12}  {:>12}  {:>8}  {:>10}  {}\n", row.name, width, row.hint + "…",
               scopes_text(row.scopes), usage.prompt_tokens + usage.completion_tokens, limit(row.tokens_per_day),
               limit(row.requests_per_minute), limit(row.tokens_per_minute), state_of(row, now));
  }
}

void revoke(const KeyFlags& flags) {
  ApiKeyStore store = open_store(flags);
  if (flags.forget ? store.forget(flags.name) > 0 : store.revoke(flags.name, seconds_now())) return;
  std::string names;
  for (const ApiKeyRow& row : store.list()) {
    if (row.revoked_at == 0) names += (names.empty() ? "" : ", ") + row.name;
  }
  throw Error(ErrorCode::kNotFound,
              "there is no key named " + flags.name + (names.empty() ? "" : "; there are " + names), "name");
}

using Run = void (*)(const KeyFlags&);

CLI::App* add_command(CLI::App& app, const char* name, const char* help, const std::shared_ptr<KeyFlags>& flags,
                      Run run) {
  CLI::App* command = app.add_subcommand(name, help);
  command
      ->add_option("--data-dir", flags->data_dir,
                   "Folder of what the server keeps, as given to serve (default ~/.local/share/carronade)")
      ->type_name("DIR");
  command->callback([flags, run] { run(*flags); });
  return command;
}

}  // namespace

void add_key_command(CLI::App& app) {
  CLI::App* key = app.add_subcommand("key", "Make and revoke API keys, also while a server runs");
  key->require_subcommand(1);
  key->footer(R"(Examples:
  carronade key add alice                             prints a new key; from now on every request needs one
  carronade key add bot --quota 200k --requests-per-minute 30 --expires 90d
  carronade key add prometheus --scope admin
  carronade key revoke bot)");

  auto flags = std::make_shared<KeyFlags>();
  CLI::App* command = add_command(*key, "add", "Make a key and print it, this once", flags, add);
  command->add_option("name", flags->name, "Whose it is")->required()->type_name("NAME");
  command->add_option("--scope", flags->scopes,
                      "chat (the API), admin (/metrics, /debug/*), or chat,admin (default chat)");
  command
      ->add_option("--quota", flags->quota,
                   "Tokens a day, prompts and answers together; days are UTC (default: no limit)")
      ->type_name("COUNT");
  command->add_option("--requests-per-minute", flags->requests, "(default: no limit)")->type_name("COUNT");
  command->add_option("--tokens-per-minute", flags->tokens, "(default: no limit)")->type_name("COUNT");
  command->add_option("--expires", flags->expires, "When it ends: 12h, 30d, 8w, or 2027-01-31 (default: never)")
      ->type_name("WHEN");
  command->add_flag("--json", flags->json, "Print JSON");

  flags = std::make_shared<KeyFlags>();
  command = add_command(*key, "list", "List the keys and what they used today", flags, list);
  command->alias("ls");
  command->add_flag("--all", flags->all, "Revoked ones too");
  command->add_flag("--json", flags->json, "Print JSON");

  flags = std::make_shared<KeyFlags>();
  command = add_command(*key, "revoke", "Revoke a key; a running server refuses it within a second", flags, revoke);
  command->add_option("name", flags->name, "Its name")->required()->type_name("NAME");
  command->add_flag(
      "--forget", flags->forget,
      "Delete it with what it used, as if it had never been; a server started without any key asks for none");
}

}  // namespace carronade
