// str() and repr() of values, as Python prints them.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace carronade::jinja {

void append_str(std::string& out, const Value& value);
void append_repr(std::string& out, const Value& value);
std::string str(const Value& value);
std::string repr(const Value& value);

// 'text', with quotes and escapes chosen as Python does; `ascii` escapes all that is not ASCII.
std::string repr_text(std::string_view text, bool ascii = false);

// The shortest digits that read back as the same number: 1.0, 1e+16, inf, nan.
std::string repr_float(double number);

}  // namespace carronade::jinja
