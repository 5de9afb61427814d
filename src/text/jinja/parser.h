// Tokens to a syntax tree: jinja2.parser, with the loop controls and the `generation` tag of transformers.
#pragma once

#include <memory>
#include <string_view>

#include "text/jinja/ast.h"

namespace carronade::jinja {

// The tree with all names resolved. Throws Error{kInvalidArgument} with line and column for what Jinja2 would refuse,
// Error{kTooLarge} for a source beyond any sensible size or nesting.
std::unique_ptr<const Template> parse_template(std::string_view source);

}  // namespace carronade::jinja
