// What templates find by name: filters, tests, global functions, methods; and how their arguments are read.
#pragma once

#include <array>
#include <string_view>

#include "text/jinja/ast.h"
#include "text/jinja/interpreter.h"

namespace carronade::jinja {

// Null where there is none of that name.
Filter find_filter(std::string_view name);
Test find_test(std::string_view name);
NativeFunction find_method(const Value& object, std::string_view name);

// Missing where there is none of that name.
Value find_global(Interpreter& interpreter, std::string_view name);

// Methods that would change their object exist, but only to be refused (jinja2.sandbox).
bool is_mutating_method(const Value& object, std::string_view name);

// Throws for names that namespaces refuse: transformers lets none begin with an underscore.
void check_namespace_name(std::string_view name);

// Python's matching of arguments with parameters. A value that was not given is missing. Throws for too many, unknown
// or twice given arguments and for an absent one among the first `required`.
void bind_arguments(const char* function, Arguments& arguments, const char* const* names, size_t count, size_t required,
                    Value* result);

template <size_t N>
std::array<Value, N> bind(const char* function, Arguments& arguments, const char* const (&names)[N],
                          size_t required = 0) {
  std::array<Value, N> result;
  bind_arguments(function, arguments, names, N, required, result.data());
  return result;
}

// For functions without parameters, or whose parameters have no names.
void expect_no_arguments(const char* function, const Arguments& arguments);
void expect_positional(const char* function, const Arguments& arguments, size_t least, size_t most);

// An argument that must be a string, as str methods require.
const String& require_string(const Value& value, const char* function);

// Entries of the tables behind find_filter and the others, which are sorted by name.
template <typename Entry, size_t N>
constexpr bool is_sorted_by_name(const Entry (&table)[N]) {
  for (size_t i = 1; i < N; ++i) {
    if (!(table[i - 1].name < table[i].name)) return false;
  }
  return true;
}

template <typename Entry, size_t N>
const Entry* find_by_name(const Entry (&table)[N], std::string_view name) {
  size_t low = 0;
  size_t high = N;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (table[middle].name < name) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < N && table[low].name == name ? &table[low] : nullptr;
}

struct MethodEntry {
  std::string_view name;
  NativeFunction function;
};
const MethodEntry* find_string_method(std::string_view name);
const MethodEntry* find_container_method(Type type, std::string_view name);

struct FilterEntry {
  std::string_view name;
  Filter filter;
};
const FilterEntry* find_text_filter(std::string_view name);
const FilterEntry* find_number_filter(std::string_view name);
const FilterEntry* find_sequence_filter(std::string_view name);
const FilterEntry* find_selection_filter(std::string_view name);

}  // namespace carronade::jinja
