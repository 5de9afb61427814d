#include "store/api_keys.h"

#include <soci/soci.h>

#include "base/error.h"

namespace carronade {

namespace {

using Integer = long long;  // SOCI's 64 bits; int64_t is another type to it

void count_change(soci::session& session) {
  session << "UPDATE change_counts SET value = value + 1 WHERE name = 'api_keys'";
}

}  // namespace

void ApiKeyStore::add(const ApiKeyRow& row) {
  database_->write([&](soci::session& session) {
    Integer taken = 0;
    session << "SELECT COUNT(*) FROM api_keys WHERE name = :name AND revoked_at = 0", soci::into(taken),
        soci::use(row.name, "name");
    if (taken > 0) {
      throw Error(ErrorCode::kInvalidArgument,
                  "there is a key named " + row.name + "; revoke that first, or choose another name", "name");
    }
    const Integer id = row.id, scopes = row.scopes, tokens_per_day = row.tokens_per_day,
                  requests = row.requests_per_minute, tokens = row.tokens_per_minute, created = row.created_at,
                  expires = row.expires_at, revoked = row.revoked_at;
    session << "INSERT INTO api_keys (id, name, hash, hint, scopes, tokens_per_day, requests_per_minute, "
               "tokens_per_minute, created_at, expires_at, revoked_at) VALUES (:id, :name, :hash, :hint, :scopes, "
               ":tokens_per_day, :requests, :tokens, :created, :expires, :revoked)",
        soci::use(id, "id"), soci::use(row.name, "name"), soci::use(row.hash, "hash"), soci::use(row.hint, "hint"),
        soci::use(scopes, "scopes"), soci::use(tokens_per_day, "tokens_per_day"), soci::use(requests, "requests"),
        soci::use(tokens, "tokens"), soci::use(created, "created"), soci::use(expires, "expires"),
        soci::use(revoked, "revoked");
    count_change(session);
  });
}

bool ApiKeyStore::revoke(const std::string& name, int64_t now) {
  return database_->write([&](soci::session& session) {
    const Integer at = now;
    soci::statement update =
        (session.prepare << "UPDATE api_keys SET revoked_at = :at WHERE name = :name AND revoked_at = 0",
         soci::use(at, "at"), soci::use(name, "name"));
    update.execute(true);
    if (update.get_affected_rows() == 0) return false;
    count_change(session);
    return true;
  });
}

int ApiKeyStore::forget(const std::string& name) {
  return database_->write([&](soci::session& session) {
    soci::statement remove = (session.prepare << "DELETE FROM api_keys WHERE name = :name", soci::use(name, "name"));
    remove.execute(true);
    const int count = static_cast<int>(remove.get_affected_rows());
    if (count > 0) count_change(session);
    return count;
  });
}

std::vector<ApiKeyRow> ApiKeyStore::list() const {
  return database_->read([](soci::session& session) {
    std::vector<ApiKeyRow> rows;
    std::string name, hash, hint;
    Integer id = 0, scopes = 0, tokens_per_day = 0, requests = 0, tokens = 0, created = 0, expires = 0, revoked = 0;
    soci::statement select =
        (session.prepare << "SELECT id, name, hash, hint, scopes, tokens_per_day, requests_per_minute, "
                            "tokens_per_minute, created_at, expires_at, revoked_at FROM api_keys ORDER BY created_at, "
                            "name, id",
         soci::into(id), soci::into(name), soci::into(hash), soci::into(hint), soci::into(scopes),
         soci::into(tokens_per_day), soci::into(requests), soci::into(tokens), soci::into(created), soci::into(expires),
         soci::into(revoked));
    select.execute();
    while (select.fetch()) {
      rows.push_back({id, name, hash, hint, scopes, tokens_per_day, requests, tokens, created, expires, revoked});
    }
    return rows;
  });
}

int64_t ApiKeyStore::change_count() const {
  return database_->read([](soci::session& session) {
    Integer value = 0;
    session << "SELECT value FROM change_counts WHERE name = 'api_keys'", soci::into(value);
    return static_cast<int64_t>(value);
  });
}

void ApiKeyStore::add_usage(const std::vector<KeyUsageRow>& rows) {
  if (rows.empty()) return;
  database_->write([&](soci::session& session) {
    Integer id = 0, day = 0, requests = 0, prompt = 0, completion = 0;
    soci::statement insert =
        (session.prepare
             << "INSERT INTO key_usage (key_id, day, requests, prompt_tokens, completion_tokens) SELECT id, "
                "CAST(:day AS BIGINT), CAST(:requests AS BIGINT), CAST(:prompt AS BIGINT), "
                "CAST(:completion AS BIGINT) FROM api_keys WHERE id = :id ON CONFLICT (key_id, day) DO "
                "UPDATE SET requests = key_usage.requests + excluded.requests, prompt_tokens = "
                "key_usage.prompt_tokens + excluded.prompt_tokens, completion_tokens = "
                "key_usage.completion_tokens + excluded.completion_tokens",
         soci::use(day, "day"), soci::use(requests, "requests"), soci::use(prompt, "prompt"),
         soci::use(completion, "completion"), soci::use(id, "id"));
    for (const KeyUsageRow& row : rows) {
      id = row.key_id, day = row.day, requests = row.requests;
      prompt = row.prompt_tokens, completion = row.completion_tokens;
      insert.execute(true);
    }
  });
}

std::vector<KeyUsageRow> ApiKeyStore::usage_since(int64_t day) const {
  return database_->read([&](soci::session& session) {
    std::vector<KeyUsageRow> rows;
    const Integer first = day;
    Integer id = 0, of_day = 0, requests = 0, prompt = 0, completion = 0;
    soci::statement select =
        (session.prepare
             << "SELECT key_id, day, requests, prompt_tokens, completion_tokens FROM key_usage WHERE day >= "
                ":first ORDER BY key_id, day",
         soci::into(id), soci::into(of_day), soci::into(requests), soci::into(prompt), soci::into(completion),
         soci::use(first, "first"));
    select.execute();
    while (select.fetch()) rows.push_back({id, of_day, requests, prompt, completion});
    return rows;
  });
}

}  // namespace carronade
