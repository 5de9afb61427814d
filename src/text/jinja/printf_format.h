// Python's "…" % values.
#pragma once

#include "text/jinja/interpreter.h"

namespace carronade::jinja {

Value format_printf(Interpreter& interpreter, const String& format, const Value& values);

}  // namespace carronade::jinja
