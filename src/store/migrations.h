// How the database came to be as it is: numbered steps, each run once, recorded in the table `migrations`.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace soci {
class session;
}

namespace carronade {

// A step that was released is never changed: what is to be otherwise is another step. Statements are SQL of SQLite and
// PostgreSQL alike: BIGINT for integers (seconds since 1970 for times), TEXT, NOT NULL with 0 or '' for "none".
struct Migration {
  int number;  // 1, 2, 3, … without a gap
  std::string_view name;
  std::vector<std::string_view> statements;
};

std::span<const Migration> migrations();

// Runs the steps that are missing, within the caller's transaction; 0 when there was nothing to do, else how many.
// Throws Error{kUnsupported} when the database has steps that this program does not know. `now`: seconds since 1970.
int migrate(soci::session& session, std::span<const Migration> steps, int64_t now);

// Whether migrate() would have something to do; takes no lock for writing. Throws as migrate() does.
bool needs_migration(soci::session& session, std::span<const Migration> steps);

}  // namespace carronade
