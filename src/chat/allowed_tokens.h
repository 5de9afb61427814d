// A request's list of the only tokens that may come.
#pragma once

#include <memory>
#include <span>

#include "engine/constraint.h"
#include "engine/request.h"

namespace carronade {

// Tokens that the model does not have are passed over. Never stops or forces anything.
std::unique_ptr<Constraint> make_allowed_tokens_constraint(std::span<const TokenId> allowed);

}  // namespace carronade
