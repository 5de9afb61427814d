// KV blocks that have left the pool and are not lost.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "backend/batch.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"

namespace carronade {

// Called by the scheduler, on the engine's thread, between steps. Blocks are named by a digest of everything that their
// content depends on: the model, the backend's form of it, the scope, and all tokens up to their end.
class ColdBlocks {
 public:
  using Tokens = std::span<const TokenId, kBlockPositions>;

  virtual ~ColdBlocks() = default;

  virtual BlockDigest root(const PrefixScope& scope) const = 0;
  virtual BlockDigest next(const BlockDigest& parent, Tokens tokens) const = 0;

  // Fills `into` with the block of this name. False: it is not to be had, and `into` holds nothing.
  virtual bool load(const BlockDigest& digest, Tokens tokens, BlockId into) = 0;

  // Keeps what `from` holds, unless it is kept already or there is no room. Reads the block before it returns.
  virtual void save(const BlockDigest& digest, Tokens tokens, BlockId from) = 0;
};

}  // namespace carronade
