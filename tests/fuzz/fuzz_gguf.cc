// Any bytes as a GGUF file: an Error in one line, or a checkpoint whose every view lies inside of the bytes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "checkpoint/gguf.h"

namespace {

using namespace carronade;

void expect(bool condition) {
  if (!condition) std::abort();
}

void check_tensor(const TensorView& tensor, std::span<const std::byte> file) {
  expect(tensor.bytes.data() >= file.data());
  expect(tensor.bytes.data() + tensor.bytes.size() <= file.data() + file.size());
  expect(tensor.bytes.size() == row_bytes(tensor.dtype, tensor.columns()) * static_cast<size_t>(tensor.rows()));
  // The first and the last block, so that the sanitizer sees the ends touched.
  const DTypeInfo& format = info(tensor.dtype);
  std::vector<float> values(static_cast<size_t>(format.block_elements));
  dequantize(tensor.dtype, tensor.bytes.data(), values.data(), format.block_elements);
  const size_t last = tensor.bytes.size() - static_cast<size_t>(format.block_bytes);
  dequantize(tensor.dtype, tensor.bytes.data() + last, values.data(), format.block_elements);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  try {
    const auto checkpoint = open_gguf_bytes(file, "fuzz.gguf");
    for (const TensorView& tensor : checkpoint->tensors()) {
      check_tensor(tensor, file);
      expect(checkpoint->find(tensor.name) == &tensor);
    }
    const TokenizerData tokenizer = checkpoint->tokenizer_data();
    expect(tokenizer.types.empty() || tokenizer.types.size() == tokenizer.tokens.size());
    expect(tokenizer.eos >= -1 && tokenizer.eos < static_cast<TokenId>(tokenizer.tokens.size()));
    for (const TokenId id : checkpoint->end_of_generation()) {
      expect(id >= 0 && id < static_cast<TokenId>(tokenizer.tokens.size()));
    }
    checkpoint->chat_template();
    checkpoint->architecture();
  } catch (const Error& error) {
    expect(std::string_view(error.what()).find('\n') == std::string_view::npos);
    expect(std::string_view(error.what()).starts_with("fuzz.gguf: "));
  }
  return 0;
}
