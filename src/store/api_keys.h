// API keys as they are kept, and what each has used. Rows in, rows out: what a key may do is workspace/'s to say.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/database.h"

namespace carronade {

struct ApiKeyRow {
  int64_t id = 0;      // chosen by the caller at random; never used again
  std::string name{};  // of the keys that are not revoked no two have the same
  std::string hash{};  // of the token; unique
  std::string hint{};  // the token's first characters, to be recognized by
  int64_t scopes = 0;
  int64_t tokens_per_day = 0, requests_per_minute = 0, tokens_per_minute = 0;  // 0: no limit
  int64_t created_at = 0, expires_at = 0, revoked_at = 0;                      // seconds since 1970; 0: never
};

struct KeyUsageRow {
  int64_t key_id = 0;
  int64_t day = 0;  // days since 1970, UTC
  int64_t requests = 0, prompt_tokens = 0, completion_tokens = 0;
};

// Thread-safe as Database is; throws as it does.
class ApiKeyStore {
 public:
  explicit ApiKeyStore(std::shared_ptr<Database> database) : database_(std::move(database)) {}

  // Throws Error{kInvalidArgument, …, "name"} when a key of this name is in use.
  void add(const ApiKeyRow& row);
  // False when no key of this name is in use.
  bool revoke(const std::string& name, int64_t now);
  // Deletes every key of this name, revoked or not, and what it used. How many there were.
  int forget(const std::string& name);

  std::vector<ApiKeyRow> list() const;  // revoked ones too; the oldest first
  // Grows with every change of the keys, by whichever process.
  int64_t change_count() const;

  // Adds to what is there; rows of keys that are gone are dropped.
  void add_usage(const std::vector<KeyUsageRow>& rows);
  std::vector<KeyUsageRow> usage_since(int64_t day) const;  // by key, then day

 private:
  std::shared_ptr<Database> database_;
};

}  // namespace carronade
