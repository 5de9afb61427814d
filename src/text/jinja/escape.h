// HTML escaping as MarkupSafe does it.
#pragma once

#include <string>
#include <string_view>

namespace carronade::jinja {

std::string escape_html(std::string_view text);

}  // namespace carronade::jinja
