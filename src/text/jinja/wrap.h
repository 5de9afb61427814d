// Python's textwrap.wrap, as the filter `wordwrap` calls it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/budget.h"

namespace carronade::jinja {

// Lines of at most `width` characters. Tabs and other white space stay as they are.
std::vector<std::string> wrap_line(Budget& budget, std::string_view text, int64_t width, bool break_long_words,
                                   bool break_on_hyphens);

}  // namespace carronade::jinja
