// str methods that search, cut and replace, and what filters share with str methods.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/codepoints.h"
#include "text/jinja/interpreter.h"

namespace carronade::jinja {

Value string_count(Interpreter&, const Value& self, Arguments&);
Value string_find(Interpreter&, const Value& self, Arguments&);
Value string_find_last(Interpreter&, const Value& self, Arguments&);
Value string_index(Interpreter&, const Value& self, Arguments&);
Value string_index_last(Interpreter&, const Value& self, Arguments&);
Value string_starts_with(Interpreter&, const Value& self, Arguments&);
Value string_ends_with(Interpreter&, const Value& self, Arguments&);
Value string_partition(Interpreter&, const Value& self, Arguments&);
Value string_partition_last(Interpreter&, const Value& self, Arguments&);
Value string_remove_prefix(Interpreter&, const Value& self, Arguments&);
Value string_remove_suffix(Interpreter&, const Value& self, Arguments&);
Value string_replace(Interpreter&, const Value& self, Arguments&);
Value string_split(Interpreter&, const Value& self, Arguments&);
Value string_split_last(Interpreter&, const Value& self, Arguments&);
Value string_split_lines(Interpreter&, const Value& self, Arguments&);

// str.replace; a negative `count` replaces all.
std::string replaced(Budget& budget, std::string_view text, std::string_view from, std::string_view to, int64_t count);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
// The text with `fill` on the left, right or both sides up to `width` characters.
std::string padded(Budget& budget, const String& text, int64_t width, std::string_view fill, Side side);
// Without these characters at the side(s).
std::string_view strip_characters(std::string_view text, std::string_view characters, Side side);

}  // namespace carronade::jinja
