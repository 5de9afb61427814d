// What the interpreter switches for the time of a scope: whose variables are seen, and where output goes.
#pragma once

#include <string>
#include <utility>

#include "text/jinja/interpreter.h"

namespace carronade::jinja {

// Makes another activation the current one, for the time of a scope.
class Interpreter::Switch {
 public:
  Switch(Interpreter& interpreter, Activation* activation)
      : interpreter_(interpreter), ref_(activation), before_(std::exchange(interpreter.activation_, activation)) {}
  ~Switch() { interpreter_.activation_ = before_; }
  Switch(const Switch&) = delete;
  Switch& operator=(const Switch&) = delete;

 private:
  Interpreter& interpreter_;
  ActivationRef ref_;
  Activation* before_;
};

// Collects output instead of printing it, for the time of a scope.
class Interpreter::Capture {
 public:
  explicit Capture(Interpreter& interpreter)
      : interpreter_(interpreter), before_(std::exchange(interpreter.out_, &text_)) {}
  ~Capture() { interpreter_.out_ = before_; }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  Value value() { return interpreter_.text(std::move(text_)); }

 private:
  Interpreter& interpreter_;
  std::string text_;
  std::string* before_;
};

}  // namespace carronade::jinja
