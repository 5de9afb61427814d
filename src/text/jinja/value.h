// Python's values as far as templates can see them: counted references to immutable objects, 16 bytes each.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/budget.h"

namespace carronade::jinja {

class Interpreter;

enum class Type : uint8_t {
  kMissing,  // an unset variable; templates never see it
  kNone,
  kBool,
  kInt,
  kFloat,
  // From here on the value is an Object.
  kUndefined,
  kString,
  kList,
  kTuple,
  kDict,
  kDictView,
  kRange,
  kIterator,
  kNamespace,
  kMacro,
  kFunction,
  kLoop,
  kCycler,
  kJoiner,
};

// What a Value can point to. Not thread-safe, with one exception: objects without a budget are constants of a parsed
// template, which many renderings share; they are never counted and die with the template.
class Object {
 public:
  Object(Budget* budget, Type type, size_t bytes);
  virtual ~Object();
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  Type type() const { return type_; }
  Budget* budget() const { return budget_; }
  void retain() {
    if (budget_) ++references_;
  }
  void release() {
    if (budget_ && --references_ == 0) budget_->bury(this);
  }

 protected:
  void charge_more(size_t bytes);

 private:
  Budget* budget_;
  size_t charged_;
  uint32_t references_ = 0;
  Type type_;
};

class Value {
 public:
  Value() : type_(Type::kMissing), int_(0) {}
  static Value none() { return Value(Type::kNone); }
  static Value boolean(bool b) {
    Value v(Type::kBool);
    v.int_ = b;
    return v;
  }
  static Value integer(int64_t i) {
    Value v(Type::kInt);
    v.int_ = i;
    return v;
  }
  static Value real(double d) {
    Value v(Type::kFloat);
    v.float_ = d;
    return v;
  }
  explicit Value(Object* object) : type_(object->type()), object_(object) { object->retain(); }
  Value(const Value& other) : type_(other.type_), int_(other.int_) {
    if (is_object()) object_->retain();
  }
  Value(Value&& other) noexcept : type_(other.type_), int_(other.int_) { other.type_ = Type::kMissing; }
  Value& operator=(const Value& other) {
    Value copy(other);
    swap(copy);
    return *this;
  }
  Value& operator=(Value&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Value() {
    if (is_object()) object_->release();
  }
  void swap(Value& other) noexcept {
    std::swap(type_, other.type_);
    std::swap(int_, other.int_);
  }

  Type type() const { return type_; }
  bool is(Type type) const { return type_ == type; }
  bool is_object() const { return type_ >= Type::kUndefined; }
  bool is_missing() const { return type_ == Type::kMissing; }
  bool is_undefined() const { return type_ == Type::kUndefined; }
  bool is_none() const { return type_ == Type::kNone; }
  bool is_string() const { return type_ == Type::kString; }
  bool is_integral() const { return type_ == Type::kInt || type_ == Type::kBool; }  // Python's bool is an int
  bool is_number() const { return is_integral() || type_ == Type::kFloat; }
  bool is_sequence() const { return type_ == Type::kList || type_ == Type::kTuple; }

  bool as_bool() const { return int_ != 0; }
  int64_t as_int() const { return int_; }
  double as_float() const { return type_ == Type::kFloat ? float_ : static_cast<double>(int_); }
  Object* object() const { return object_; }
  template <typename T>
  T& as() const {
    return *static_cast<T*>(object_);
  }

  // Python's `is`.
  bool same_as(const Value& other) const { return type_ == other.type_ && int_ == other.int_; }

 private:
  explicit Value(Type type) : type_(type), int_(0) {}
  Type type_;
  union {
    int64_t int_;
    double float_;
    Object* object_;
  };
};

// UTF-8. Escapes in templates can make lone surrogates, which are kept as three bytes each and refused when printed.
class String final : public Object {
 public:
  String(Budget* budget, std::string text, bool markup = false);
  std::string_view view() const { return text_; }
  const std::string& text() const { return text_; }
  bool markup() const { return markup_; }  // MarkupSafe's string: what is joined to it gets HTML-escaped
  size_t length() const;                   // in characters
  bool ascii() const { return length() == text_.size(); }

 private:
  std::string text_;
  mutable int64_t length_ = -1;
  bool markup_;
};

// A list or a tuple. Complete once a template can see it.
class List final : public Object {
 public:
  List(Budget* budget, Type type, std::vector<Value> items, bool group = false);
  const std::vector<Value>& items() const { return items_; }
  bool group() const { return group_; }  // a named tuple (grouper, list) of `groupby`

 private:
  std::vector<Value> items_;
  bool group_;
};

// Keeps the order of insertion.
class Dict final : public Object {
 public:
  using Entry = std::pair<Value, Value>;
  explicit Dict(Budget* budget);
  void set(Value key, Value value);  // only while it is being made. Throws for an unhashable key
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  void reserve(size_t entries) { entries_.reserve(entries); }
  void clear() {
    entries_.clear();
    hashes_.clear();
    index_.clear();
  }

 private:
  template <typename Equal>
  int64_t locate(size_t hash, const Equal& equal) const;
  void reindex();
  std::vector<Entry> entries_;
  std::vector<uint64_t> hashes_;  // [entries]
  std::vector<int32_t> index_;  // open addressing, a power of two, at most half full; empty while there are few entries
};

class DictView final : public Object {
 public:
  enum class Kind : uint8_t { kKeys, kValues, kItems };
  DictView(Budget* budget, Value dict, Kind kind)
      : Object(budget, Type::kDictView, sizeof(DictView)), dict_(std::move(dict)), kind_(kind) {}
  Dict& dict() const { return dict_.as<Dict>(); }
  Kind kind() const { return kind_; }

 private:
  Value dict_;
  Kind kind_;
};

class Range final : public Object {
 public:
  Range(Budget* budget, int64_t start, int64_t stop, int64_t step);
  int64_t start, stop, step, length;
  // Wraps around where a place outside of the range would overflow.
  int64_t at(int64_t i) const {
    return static_cast<int64_t>(static_cast<uint64_t>(start) + static_cast<uint64_t>(i) * static_cast<uint64_t>(step));
  }
};

// What a Python generator is: gives its items once.
class Iterator : public Object {
 public:
  explicit Iterator(Budget* budget, size_t bytes = 64, const char* type_name = "generator")
      : Object(budget, Type::kIterator, bytes), type_name_(type_name) {}
  virtual bool next(Interpreter& interpreter, Value& item) = 0;
  const char* type_name() const { return type_name_; }

 private:
  const char* type_name_;
};

// The only value that a template can change.
class Namespace final : public Object, private Cyclic {
 public:
  explicit Namespace(Budget* budget)
      : Object(budget, Type::kNamespace, sizeof(Namespace)), Cyclic(*budget), attributes(budget) {}
  Dict attributes;

 private:
  void clear_references() override { attributes.clear(); }
};

// What an absent variable, attribute or item evaluates to; the message is made when someone trips over it.
class Undefined final : public Object {
 public:
  Undefined(Budget* budget, Value name, const char* owner, std::string hint, bool security)
      : Object(budget, Type::kUndefined, sizeof(Undefined) + hint.size()),
        name_(std::move(name)),
        owner_(owner),
        hint_(std::move(hint)),
        security_(security) {}
  std::string message() const;
  bool security() const { return security_; }

 private:
  Value name_;         // what was looked for
  const char* owner_;  // type of the object it was looked for in; null for a variable
  std::string hint_;
  bool security_;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> keyword;
  std::vector<Value> owners;  // of the keywords' names, where these are no constants of the template
};

using NativeFunction = Value (*)(Interpreter&, const Value& self, Arguments& arguments);

// A built-in function, or a method bound to its object.
class Function final : public Object {
 public:
  Function(Budget* budget, const char* name, NativeFunction function, Value self)
      : Object(budget, Type::kFunction, sizeof(Function)), name(name), function(function), self(std::move(self)) {}
  const char* name;
  NativeFunction function;
  Value self;  // missing: a plain function
};

// Python's type(value).__name__.
const char* type_name(const Value& value);
// As in messages about absent attributes: `dict object`, `None`.
std::string describe_type(const char* type_name);

[[noreturn]] void raise(const std::string& message);
// What any operation on an undefined value ends in.
[[noreturn]] void raise_undefined(const Value& undefined);

}  // namespace carronade::jinja
