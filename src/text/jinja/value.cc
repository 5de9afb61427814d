#include "text/jinja/value.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/codepoints.h"
#include "text/jinja/format_value.h"
#include "text/jinja/operators.h"

namespace carronade::jinja {

namespace {
// Below this, comparing all keys is faster than hashing one.
constexpr size_t kIndexFrom = 9;
}  // namespace

Object::Object(Budget* budget, Type type, size_t bytes) : budget_(budget), charged_(bytes), type_(type) {
  if (budget_) budget_->charge(charged_);
}

Object::~Object() {
  if (budget_) budget_->refund(charged_);
}

void Object::charge_more(size_t bytes) {
  if (!budget_) return;
  budget_->charge(bytes);
  charged_ += bytes;
}

String::String(Budget* budget, std::string text, bool markup)
    : Object(budget, Type::kString, sizeof(String) + text.size()), text_(std::move(text)), markup_(markup) {
  if (!budget) length();  // a constant is shared between threads: nothing may be written to it later
}

size_t String::length() const {
  if (length_ < 0) length_ = static_cast<int64_t>(is_ascii(text_) ? text_.size() : count_codepoints(text_));
  return static_cast<size_t>(length_);
}

List::List(Budget* budget, Type type, std::vector<Value> items, bool group)
    : Object(budget, type, sizeof(List) + items.capacity() * sizeof(Value)), items_(std::move(items)), group_(group) {}

Dict::Dict(Budget* budget) : Object(budget, Type::kDict, sizeof(Dict)) {}

template <typename Equal>
int64_t Dict::locate(size_t hash, const Equal& equal) const {
  if (index_.empty()) {
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (hashes_[i] == hash && equal(entries_[i].first)) return static_cast<int64_t>(i);
    }
    return -1;
  }
  const size_t mask = index_.size() - 1;
  for (size_t slot = hash & mask; index_[slot] >= 0; slot = (slot + 1) & mask) {
    const auto i = static_cast<size_t>(index_[slot]);
    if (hashes_[i] == hash && equal(entries_[i].first)) return static_cast<int64_t>(i);
  }
  return -1;
}

void Dict::reindex() {
  size_t size = 32;
  while (size < entries_.size() * 4) size *= 2;
  index_.assign(size, -1);
  for (size_t i = 0; i < entries_.size(); ++i) {
    size_t slot = hashes_[i] & (size - 1);
    while (index_[slot] >= 0) slot = (slot + 1) & (size - 1);
    index_[slot] = static_cast<int32_t>(i);
  }
}

void Dict::set(Value key, Value value) {
  const size_t hash = hash_value(key);
  const int64_t found = locate(hash, [&](const Value& other) { return other.same_as(key) || equal(other, key); });
  if (found >= 0) {
    entries_[static_cast<size_t>(found)].second = std::move(value);
    return;
  }
  charge_more(sizeof(Entry) + sizeof(uint64_t) + 4 * sizeof(int32_t));
  entries_.emplace_back(std::move(key), std::move(value));
  hashes_.push_back(hash);
  if (!index_.empty() && entries_.size() * 2 <= index_.size()) {
    size_t slot = hash & (index_.size() - 1);
    while (index_[slot] >= 0) slot = (slot + 1) & (index_.size() - 1);
    index_[slot] = static_cast<int32_t>(entries_.size() - 1);
  } else if (entries_.size() >= kIndexFrom) {
    reindex();
  }
}

const Value* Dict::find(const Value& key) const {
  const int64_t i =
      locate(hash_value(key), [&](const Value& other) { return other.same_as(key) || equal(other, key); });
  return i < 0 ? nullptr : &entries_[static_cast<size_t>(i)].second;
}

const Value* Dict::find(std::string_view key) const {
  const int64_t i =
      locate(hash_text(key), [&](const Value& other) { return other.is_string() && other.as<String>().view() == key; });
  return i < 0 ? nullptr : &entries_[static_cast<size_t>(i)].second;
}

Range::Range(Budget* budget, int64_t start, int64_t stop, int64_t step)
    : Object(budget, Type::kRange, sizeof(Range)), start(start), stop(stop), step(step), length(0) {
  const auto span = [](int64_t low, int64_t high, uint64_t stride) {
    return low < high ? (static_cast<uint64_t>(high) - static_cast<uint64_t>(low) - 1) / stride + 1 : 0;
  };
  const uint64_t count =
      step > 0 ? span(start, stop, static_cast<uint64_t>(step)) : span(stop, start, 0 - static_cast<uint64_t>(step));
  constexpr uint64_t kMaxRange = 100'000;  // jinja2.sandbox.MAX_RANGE
  if (count > kMaxRange) raise("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
  length = static_cast<int64_t>(count);
}

std::string Undefined::message() const {
  if (!hint_.empty()) return hint_;
  if (!owner_) return repr(name_) + " is undefined";
  if (!name_.is_string()) return describe_type(owner_) + " has no element " + repr(name_);
  return repr_text(describe_type(owner_)) + " has no attribute " + repr(name_);
}

const char* type_name(const Value& value) {
  switch (value.type()) {
    case Type::kMissing:
      return "missing";
    case Type::kNone:
      return "NoneType";
    case Type::kBool:
      return "bool";
    case Type::kInt:
      return "int";
    case Type::kFloat:
      return "float";
    case Type::kUndefined:
      return "Undefined";
    case Type::kString:
      return value.as<String>().markup() ? "Markup" : "str";
    case Type::kList:
      return "list";
    case Type::kTuple:
      return value.as<List>().group() ? "_GroupTuple" : "tuple";
    case Type::kDict:
      return "dict";
    case Type::kDictView:
      switch (value.as<DictView>().kind()) {
        case DictView::Kind::kKeys:
          return "dict_keys";
        case DictView::Kind::kValues:
          return "dict_values";
        case DictView::Kind::kItems:
          return "dict_items";
      }
      return "dict_items";
    case Type::kRange:
      return "range";
    case Type::kIterator:
      return value.as<Iterator>().type_name();
    case Type::kNamespace:
      return "TemplateNamespace";
    case Type::kMacro:
      return "Macro";
    case Type::kFunction:
      return value.as<Function>().self.is_missing() ? "function" : "builtin_function_or_method";
    case Type::kLoop:
      return "LoopContext";
    case Type::kCycler:
      return "Cycler";
    case Type::kJoiner:
      return "Joiner";
  }
  return "object";
}

std::string describe_type(const char* type_name) {
  const std::string_view name = type_name;
  if (name == "NoneType") return "None";
  if (name == "Macro" || name == "LoopContext") return "jinja2.runtime." + std::string(name) + " object";
  if (name == "Cycler" || name == "Joiner") return "jinja2.utils." + std::string(name) + " object";
  if (name == "_GroupTuple") return "jinja2.filters._GroupTuple object";
  if (name == "Markup") return "markupsafe.Markup object";
  return std::string(name) + " object";
}

void raise(const std::string& message) { throw Error(ErrorCode::kInvalidArgument, message); }

void raise_undefined(const Value& undefined) { raise(undefined.as<Undefined>().message()); }

}  // namespace carronade::jinja
