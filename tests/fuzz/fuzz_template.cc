// Any bytes as a chat template: it is refused, or rendered within its limits. The first line may carry the context, as
// JSON.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/chat_template.h"

namespace {

const nlohmann::ordered_json& default_context() {
  static const nlohmann::ordered_json context = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Grüße {x} %s"},
                 {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"q": [1, 2.5]}}}]}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>", "n": -7, "l": [3, 1, 2], "s": "a, b\nc"})");
  return context;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view source(reinterpret_cast<const char*>(data), size);
  nlohmann::ordered_json context;
  if (source.starts_with("#context ")) {
    const size_t end = std::min(source.find('\n'), source.size());
    context = nlohmann::ordered_json::parse(source.substr(9, end - 9), nullptr, false);
    source.remove_prefix(std::min(end + 1, source.size()));
  }
  carronade::TemplateLimits limits;
  limits.max_output_bytes = 1 << 20;
  limits.max_steps = 200'000;
  limits.max_memory_bytes = 32 << 20;
  try {
    const carronade::ChatTemplate chat_template(source);
    chat_template.render(context.is_object() ? context : default_context(), limits);
  } catch (const carronade::Error&) {
  }
  return 0;
}
