// "…".format(…), as the sandbox lets templates have it.
#pragma once

#include "text/jinja/interpreter.h"

namespace carronade::jinja {

Value format_braces(Interpreter& interpreter, const String& format, Arguments& arguments);

}  // namespace carronade::jinja
