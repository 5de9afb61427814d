// What Python's str methods know about characters (Unicode 14, as in Python 3.11).
#pragma once

#include <string>
#include <string_view>

namespace carronade::jinja {

bool is_printable(char32_t c);
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_lower(char32_t c);
bool is_upper(char32_t c);
bool is_title(char32_t c);
bool starts_identifier(char32_t c);
bool continues_identifier(char32_t c);
inline bool is_alnum(char32_t c) { return is_alpha(c) || is_numeric(c); }
inline bool is_word(char32_t c) { return c == '_' || is_alnum(c); }  // \w of Python's regular expressions

// 0 … 9, or -1 for what is no decimal digit of any script.
int decimal_value(char32_t c);

// Whole texts, UTF-8 in and out: one character may become three, and a capital sigma depends on its neighbours.
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_title(std::string_view text);  // str.title()
std::string capitalize(std::string_view text);
std::string swap_case(std::string_view text);
std::string fold_case(std::string_view text);

}  // namespace carronade::jinja
