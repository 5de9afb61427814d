// Which variable a name means. Jinja2 decides this when it compiles: a name belongs to the whole scope in which it is
// assigned, even before the assignment. Templates (mostly by accident) depend on it, so this follows jinja2.idtracking
// and jinja2.compiler step by step.
#pragma once

#include "text/jinja/ast.h"

namespace carronade::jinja {

// Fills in every VariableRef, ScopePlan and FunctionPlan. Throws Error{kInvalidArgument} for what Jinja2's compiler
// refuses: unknown filters and tests outside of conditions, assignments to `loop`.
void resolve_names(Template& tree);

}  // namespace carronade::jinja
