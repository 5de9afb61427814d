// Any bytes as a safetensors file and as a config.json: an Error in one line, or entries that lie inside of the bytes
// and do not overlap.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "checkpoint/json_file.h"
#include "checkpoint/published_config.h"
#include "checkpoint/safetensors_file.h"

namespace {

using namespace carronade;

void expect(bool condition) {
  if (!condition) std::abort();
}

template <typename Call>
void attempt(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    expect(std::string_view(error.what()).find('\n') == std::string_view::npos);
    expect(std::string_view(error.what()).starts_with("fuzz: "));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  const std::string name = "fuzz";
  attempt([&] {
    const std::byte* last = file.data();
    for (const SafetensorsEntry& entry : parse_safetensors(file, name)) {
      expect(entry.bytes.data() >= last);
      last = entry.bytes.data() + entry.bytes.size();
      expect(last <= file.data() + file.size());
      for (const char* architecture : {"llama", "gemma3", "bert"}) translate_tensor_name(architecture, entry.name);
    }
  });
  attempt([&] {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const nlohmann::json config = parse_json(text, name, 32);
    if (!config.is_object()) return;
    expect(!translate_config(config, name).architecture.empty());
    Metadata metadata;
    translate_generation_config(config, metadata);
  });
  return 0;
}
