#include "chat/allowed_tokens.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace carronade {
namespace {

class AllowedTokens : public Constraint {
 public:
  explicit AllowedTokens(std::span<const TokenId> allowed) {
    for (const TokenId token : allowed) {
      if (token < 0) continue;
      const size_t word = static_cast<size_t>(token) / 32;
      if (word >= mask_.size()) mask_.resize(word + 1, 0);
      mask_[word] |= 1u << (token % 32);
    }
  }

  bool fill_mask(std::span<uint32_t> mask) override {
    for (size_t i = 0; i < mask.size(); ++i) mask[i] &= i < mask_.size() ? mask_[i] : 0;
    return true;
  }
  Verdict accept(int32_t) override { return Continue{}; }
  void rollback(int) override {}

 private:
  std::vector<uint32_t> mask_;  // up to the highest token
};

}  // namespace

std::unique_ptr<Constraint> make_allowed_tokens_constraint(std::span<const TokenId> allowed) {
  return std::make_unique<AllowedTokens>(allowed);
}

}  // namespace carronade
