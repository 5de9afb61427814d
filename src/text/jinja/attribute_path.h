// What the sequence filters share: "a.b.0" as a way into an item, keys that ignore case, and stable sorting by keys.
#pragma once

#include <vector>

#include "text/jinja/interpreter.h"

namespace carronade::jinja {

// jinja2.filters.make_attrgetter. A missing attribute is the item itself.
class AttributePath {
 public:
  // `fallback`, unless missing or none, stands for what is undefined on the way.
  AttributePath(Interpreter& interpreter, const Value& attribute, Value fallback = {});
  Value of(const Value& item) const;

 private:
  Interpreter& interpreter_;
  std::vector<Value> parts_;
  Value fallback_;
};

// jinja2.filters.make_multi_attrgetter: several paths with commas between them.
class AttributePaths {
 public:
  AttributePaths(Interpreter& interpreter, const Value& attribute);
  std::vector<Value> of(const Value& item) const;

 private:
  std::vector<AttributePath> paths_;
};

Value ignore_case(Interpreter& interpreter, const Value& value);
bool truthy_argument(const Value& value);  // a missing one is false

struct SortItem {
  Value key;
  Value item;
};
void sort_items(Budget& budget, std::vector<SortItem>& items, bool reverse);
std::vector<Value> sorted(Budget& budget, std::vector<SortItem> items, bool reverse);

}  // namespace carronade::jinja
