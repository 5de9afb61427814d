// Chat templates: the Jinja subset that model files use, rendered byte for byte as Jinja2 does when transformers sets
// it up (trim_blocks, lstrip_blocks, loop controls, `tojson`, `raise_exception`, `strftime_now`).
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace carronade {

// A template comes in a stranger's file: what it may cost is bounded, and past a bound rendering ends in
// Error{kTooLarge}.
struct TemplateLimits {
  size_t max_output_bytes = 16 << 20;
  size_t max_steps = 10'000'000;        // evaluated expressions and statements
  size_t max_depth = 1000;              // of nested expressions, blocks and macro calls, as Python bounds its calls
  size_t max_memory_bytes = 256 << 20;  // of all values alive at one time
  std::chrono::milliseconds max_time{2000};
};

// Immutable once made, so any thread may render.
class ChatTemplate {
 public:
  // Throws Error{kInvalidArgument} "chat template, line L, column C: …" for what Jinja2 would refuse.
  explicit ChatTemplate(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // `context` is an object of the template's variables: messages, tools, add_generation_prompt, bos_token, eos_token, …
  // Throws Error{kInvalidArgument} for an error at run time; what the template itself raises (`raise_exception`) is the
  // message.
  std::string render(const nlohmann::ordered_json& context, const TemplateLimits& limits = {}) const;

  const std::string& source() const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace carronade
