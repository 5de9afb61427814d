// What may come next in one sequence: grammars, tool-call triggers, the thinking budget, "answer now" and stop strings
// are Constraints. They are made in chat/; the engine needs to know none of them.
#pragma once

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

namespace carronade {

class Constraint {
 public:
  struct Continue {};
  struct Stop {};  // the answer ends with this token (it is part of the answer)
  struct Force {
    std::vector<int32_t> tokens;
  };  // these come next, undrawn
  using Verdict = std::variant<Continue, Stop, Force>;

  virtual ~Constraint() = default;

  // Clears the bits of forbidden tokens (bit t % 32 of word t / 32) in a mask that comes all set. False: nothing is
  // forbidden, mask untouched.
  virtual bool fill_mask(std::span<uint32_t> mask) = 0;

  // The token that was drawn or forced. Called once for each, in order, on the engine's thread.
  virtual Verdict accept(int32_t token) = 0;

  // Takes back the last n accepted tokens (a draft that did not hold).
  virtual void rollback(int n) = 0;
};

}  // namespace carronade
