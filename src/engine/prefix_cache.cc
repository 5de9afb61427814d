#include "engine/prefix_cache.h"

#include <sodium.h>

#include <algorithm>

namespace carronade {

CacheSalt cache_salt_of(std::string_view secret) {
  CacheSalt salt;
  crypto_generichash(reinterpret_cast<unsigned char*>(salt.data()), sizeof salt,
                     reinterpret_cast<const unsigned char*>(secret.data()), secret.size(), nullptr, 0);
  return salt;
}

size_t PrefixCache::KeyHash::operator()(const Key& key) const {
  uint64_t hash = key.parent * 0x9e3779b97f4a7c15u ^ key.scope.tenant ^ static_cast<uint64_t>(key.scope.adapter) << 32 ^
                  key.scope.salt[0];
  for (const TokenId token : key.tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  return hash;
}

PrefixCache::Key PrefixCache::make_key(const PrefixScope& scope, Link parent,
                                       std::span<const TokenId, kBlockPositions> tokens) {
  Key key{parent, scope, {}};
  std::copy(tokens.begin(), tokens.end(), key.tokens.begin());
  return key;
}

PrefixCache::Match PrefixCache::match(const PrefixScope& scope, std::span<const TokenId> tokens) const {
  Match match;
  Link parent = kRoot;
  while (tokens.size() >= kBlockPositions) {
    const auto found = entries_.find(make_key(scope, parent, tokens.first<kBlockPositions>()));
    if (found == entries_.end()) break;
    match.blocks.push_back(found->second.block);
    match.links.push_back(parent = found->second.link);
    match.digest = found->second.digest;
    tokens = tokens.subspan(kBlockPositions);
  }
  return match;
}

PrefixCache::Inserted PrefixCache::insert(const PrefixScope& scope, Link parent,
                                          std::span<const TokenId, kBlockPositions> tokens, BlockId block,
                                          const BlockDigest& digest) {
  const Key key = make_key(scope, parent, tokens);
  const auto [entry, is_new] = entries_.try_emplace(key, Entry{last_link_ + 1, block, digest});
  if (is_new) {
    ++last_link_;
    keys_.insert_or_assign(block, key);
  }
  return {entry->second.link, is_new};
}

PrefixCache::Content PrefixCache::content(BlockId block) const {
  const Key& key = keys_.at(block);
  return {key.tokens, entries_.at(key).digest};
}

void PrefixCache::forget(BlockId block) {
  const auto found = keys_.find(block);
  if (found == keys_.end()) return;
  entries_.erase(found->second);
  keys_.erase(found);
}

}  // namespace carronade
