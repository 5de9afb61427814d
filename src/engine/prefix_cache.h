// Full KV blocks found again by what they hold: a chain of blocks from a sequence's start, each known by its parent and
// its 16 tokens. Source: the idea of vLLM's automatic prefix caching; here the keys are the tokens themselves, so that
// no collision can give one user another's answer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/block_pool.h"
#include "engine/request.h"

namespace carronade {

// Who may share: blocks are found only within one scope.
struct PrefixScope {
  uint64_t tenant = 0;
  int adapter = kNoAdapter;
  CacheSalt salt{};
  bool operator==(const PrefixScope&) const = default;
};

// BLAKE2b of a secret that is not empty.
CacheSalt cache_salt_of(std::string_view secret);

// A block's name outside of this process: says everything that its content depends on. All zero where nobody asks.
using BlockDigest = std::array<std::byte, 32>;

// On the engine's thread. Knows blocks, holds none.
class PrefixCache {
 public:
  using Link = uint64_t;            // a block's place in its chain
  static constexpr Link kRoot = 0;  // before the first block

  struct Match {
    std::vector<BlockId> blocks;
    std::vector<Link> links;
    BlockDigest digest{};  // of the last block
  };

  // The longest chain of whole blocks that `tokens` begins with. The caller retains what it uses.
  Match match(const PrefixScope& scope, std::span<const TokenId> tokens) const;

  struct Inserted {
    Link link;    // the parent of the next block
    bool is_new;  // false: another block holds the same already, and this one stays unknown
  };
  Inserted insert(const PrefixScope& scope, Link parent, std::span<const TokenId, kBlockPositions> tokens,
                  BlockId block, const BlockDigest& digest = {});

  // What a known block holds. Valid until it is forgotten.
  struct Content {
    std::span<const TokenId, kBlockPositions> tokens;
    const BlockDigest& digest;
  };
  Content content(BlockId block) const;

  void forget(BlockId block);
  size_t size() const { return entries_.size(); }

 private:
  struct Key {
    Link parent;
    PrefixScope scope;
    std::array<TokenId, kBlockPositions> tokens;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };
  struct Entry {
    Link link;
    BlockId block;
    BlockDigest digest;
  };
  static Key make_key(const PrefixScope& scope, Link parent, std::span<const TokenId, kBlockPositions> tokens);

  std::unordered_map<Key, Entry, KeyHash> entries_;
  std::unordered_map<BlockId, Key> keys_;
  Link last_link_ = kRoot;
};

}  // namespace carronade
