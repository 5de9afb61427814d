#include "workspace/api_key.h"

#include <sodium.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace carronade {

namespace {

void require_sodium() {
  if (sodium_init() < 0) throw Error(ErrorCode::kInternal, "libsodium cannot be used");
}

struct ScopeName {
  KeyScope scope;
  std::string_view name;
};
constexpr ScopeName kScopes[] = {{KeyScope::kChat, "chat"}, {KeyScope::kAdmin, "admin"}};

}  // namespace

KeyScopes parse_scopes(std::string_view text) {
  KeyScopes scopes = 0;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    const auto found = std::ranges::find(kScopes, word, &ScopeName::name);
    if (found == std::end(kScopes)) {
      throw Error(ErrorCode::kInvalidArgument,
                  "a scope is chat or admin, or both as chat,admin; not \"" + std::string(word) + "\"", "--scope");
    }
    scopes |= static_cast<KeyScopes>(found->scope);
    begin = end + 1;
  }
  return scopes;
}

std::string scopes_text(KeyScopes scopes) {
  std::string text;
  for (const auto& [scope, name] : kScopes) {
    if ((scopes & static_cast<KeyScopes>(scope)) == 0) continue;
    text += text.empty() ? "" : ",";
    text += name;
  }
  return text;
}

std::string_view scope_text(KeyScope scope) { return std::ranges::find(kScopes, scope, &ScopeName::scope)->name; }

std::string make_token() {
  require_sodium();
  std::array<unsigned char, 32> random;
  randombytes_buf(random.data(), random.size());
  std::string text(sodium_base64_encoded_len(random.size(), sodium_base64_VARIANT_URLSAFE_NO_PADDING), '\0');
  sodium_bin2base64(text.data(), text.size(), random.data(), random.size(), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
  text.pop_back();  // its terminating zero
  return "ck-" + text;
}

std::string hash_token(std::string_view token) {
  require_sodium();
  std::array<unsigned char, crypto_hash_sha256_BYTES> digest;
  crypto_hash_sha256(digest.data(), reinterpret_cast<const unsigned char*>(token.data()), token.size());
  std::string text(digest.size() * 2 + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), digest.data(), digest.size());
  text.pop_back();
  return text;
}

std::string token_hint(std::string_view token) { return std::string(token.substr(0, 7)); }

bool same_hash(std::string_view left, std::string_view right) {
  return left.size() == right.size() && sodium_memcmp(left.data(), right.data(), left.size()) == 0;
}

int64_t make_key_id() {
  require_sodium();
  uint64_t random = 0;
  do {
    randombytes_buf(&random, sizeof random);
    random >>= 11;  // 53 bits
  } while (random == 0);
  return static_cast<int64_t>(random);
}

void check_key_name(std::string_view name) {
  const bool has_control =
      std::ranges::any_of(name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (name.empty() || name.size() > 64 || has_control || name.front() == ' ' || name.back() == ' ') {
    throw Error(ErrorCode::kInvalidArgument,
                "a key's name has 1 to 64 characters, no control characters and no space at its ends", "name");
  }
}

}  // namespace carronade
