#include "store/migrations.h"

#include <soci/soci.h>

#include <set>
#include <string>

#include "base/error.h"

namespace carronade {

namespace {

constexpr const char* kTable =
    "CREATE TABLE IF NOT EXISTS migrations (number BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)";

// The last step that was run; the table has to be there.
int last_step(soci::session& session, std::span<const Migration> steps) {
  long long last = 0;
  session << "SELECT COALESCE(MAX(number), 0) FROM migrations", soci::into(last);
  const int known = steps.empty() ? 0 : steps.back().number;
  if (last > known) {
    throw_error(
        ErrorCode::kUnsupported,
        "the database was made by a newer version of this program (its step {}, this version knows {}): use that "
        "version, or another --data-dir",
        last, known);
  }
  return static_cast<int>(last);
}

// `hash`: SHA-256 of the token in hexadecimal digits. Limits: 0 is none.
constexpr const char* kApiKeys =
    "CREATE TABLE api_keys (id BIGINT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, hint TEXT NOT "
    "NULL, scopes BIGINT NOT NULL, tokens_per_day BIGINT NOT NULL, requests_per_minute BIGINT NOT NULL, "
    "tokens_per_minute BIGINT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, revoked_at "
    "BIGINT NOT NULL)";

// `day`: days since 1970, UTC.
constexpr const char* kKeyUsage =
    "CREATE TABLE key_usage (key_id BIGINT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE, day BIGINT NOT "
    "NULL, requests BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL, completion_tokens BIGINT NOT NULL, PRIMARY "
    "KEY (key_id, day))";

}  // namespace

std::span<const Migration> migrations() {
  static const std::vector<Migration> steps = {
      {1,
       "API keys and what they used",
       {
           kApiKeys,
           // A revoked key's name may be given again.
           "CREATE UNIQUE INDEX api_keys_by_name ON api_keys (name) WHERE revoked_at = 0",
           kKeyUsage,
           // How often a table was changed: what a running server looks at to learn of it.
           "CREATE TABLE change_counts (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
           "INSERT INTO change_counts (name, value) VALUES ('api_keys', 0)",
       }},
  };
  return steps;
}

int migrate(soci::session& session, std::span<const Migration> steps, int64_t now) {
  session << kTable;
  const int last = last_step(session, steps);
  int count = 0;
  for (const Migration& step : steps) {
    if (step.number <= last) continue;
    for (const std::string_view statement : step.statements) session << std::string(statement);
    const std::string name(step.name);
    const long long number = step.number, applied_at = now;
    session << "INSERT INTO migrations (number, name, applied_at) VALUES (:number, :name, :applied_at)",
        soci::use(number, "number"), soci::use(name, "name"), soci::use(applied_at, "applied_at");
    ++count;
  }
  return count;
}

bool needs_migration(soci::session& session, std::span<const Migration> steps) {
  std::set<std::string> tables;
  std::string name;
  soci::statement list = (session.prepare_table_names(), soci::into(name));
  list.execute();
  while (list.fetch()) tables.insert(name);
  if (tables.contains("migrations")) return last_step(session, steps) < (steps.empty() ? 0 : steps.back().number);
  if (tables.empty()) return true;
  throw_error(ErrorCode::kUnsupported,
              "this database belongs to another program (it has the table {}); choose another --data-dir",
              *tables.begin());
}

}  // namespace carronade
