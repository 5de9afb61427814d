// Comparisons beyond operators.h.
#pragma once

#include "text/jinja/value.h"

namespace carronade::jinja {

// -1, 0 or 1; `op` is the operator's spelling in Python's message about types that have no order.
int order(Budget& budget, const Value& left, const Value& right, const char* op);

}  // namespace carronade::jinja
