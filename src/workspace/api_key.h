// An API key's token and what it may do. A token is 256 random bits, so its SHA-256 is as hard to turn back as the
// token is to guess (docs/decisions/0009-api-keys.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace carronade {

enum class KeyScope : int64_t {
  kChat = 1,   // what answers are asked for with: /v1/*
  kAdmin = 2,  // what an operator looks at: /metrics, /debug/*
};

// Of several, the sum of their bits.
using KeyScopes = int64_t;
inline constexpr KeyScopes kAllScopes =
    static_cast<KeyScopes>(KeyScope::kChat) | static_cast<KeyScopes>(KeyScope::kAdmin);

// "chat", "admin", "chat,admin". Throws Error{kInvalidArgument, …, "--scope"} for another word, or for none.
KeyScopes parse_scopes(std::string_view text);
std::string scopes_text(KeyScopes scopes);
std::string_view scope_text(KeyScope scope);

// "ck-" and 43 characters of base64 (the alphabet of URLs) for 32 random bytes.
std::string make_token();
// SHA-256, 64 hexadecimal digits in lower case.
std::string hash_token(std::string_view token);
// What a token is recognized by in lists: its first seven characters, 24 bits of the 256.
std::string token_hint(std::string_view token);
// Takes as long wherever they differ. Of hashes, so of one length.
bool same_hash(std::string_view left, std::string_view right);

// Positive and below 2^53, so that every JSON reader can hold it.
int64_t make_key_id();

// Throws Error{kInvalidArgument, …, "name"} unless it is 1 to 64 characters without control characters and spaces at
// its ends.
void check_key_name(std::string_view name);

}  // namespace carronade
