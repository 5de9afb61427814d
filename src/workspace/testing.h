// What tests of this room and of those above share: API keys that are kept.
#pragma once

#include <string>

#include "store/api_keys.h"
#include "workspace/api_key.h"

namespace carronade {

// Keeps a key of this name with the limits of `row` (for chats, unless that says otherwise); returns its token.
inline std::string add_key(ApiKeyStore& store, const std::string& name, ApiKeyRow row) {
  std::string token = make_token();
  row.id = make_key_id();
  row.name = name;
  row.hash = hash_token(token);
  if (row.scopes == 0) row.scopes = static_cast<KeyScopes>(KeyScope::kChat);
  store.add(row);
  return token;
}

}  // namespace carronade
