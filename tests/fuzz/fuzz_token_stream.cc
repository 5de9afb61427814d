// Any bytes, cut into tokens in any way, through a TokenStream with any stop strings: the text is that of the bytes as
// a whole.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "text/token_stream.h"
#include "text/unicode.h"

namespace {

using namespace carronade;

void expect(bool condition) {
  if (!condition) std::abort();
}

class Pieces final : public Tokenizer {
 public:
  std::vector<std::string_view> pieces;
  std::vector<TokenId> encode(std::string_view, const EncodeOptions&) const override { return {}; }
  std::string_view token_bytes(TokenId id) const override { return pieces[static_cast<size_t>(id)]; }
  bool is_special(TokenId) const override { return false; }
  TokenId special_token(std::string_view) const override { return -1; }
  int vocabulary_size() const override { return static_cast<int>(pieces.size()); }
  const TokenizerData& data() const override { return data_; }

 private:
  TokenizerData data_;
};

// The definition: the whole text, cut at the stop string that is complete first (the longest of those).
std::string whole_text(std::string_view bytes, const TokenStreamOptions& options, bool& stopped) {
  std::string text = replace_invalid_utf8(bytes);
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t start = std::string::npos;
    for (const std::string& stop : options.stop) {
      if (std::string_view(text).substr(0, end).ends_with(stop)) start = std::min(start, end - stop.size());
    }
    if (start == std::string::npos) continue;
    stopped = true;
    text.resize(options.include_stop ? end : start);
    return text;
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto next = [&]() -> uint8_t {
    if (input.empty()) return 0;
    const auto value = static_cast<uint8_t>(input[0]);
    input.remove_prefix(1);
    return value;
  };
  const auto take = [&](size_t length) {
    const std::string_view part = input.substr(0, length);
    input.remove_prefix(part.size());
    return part;
  };
  TokenStreamOptions options;
  const uint8_t flags = next();
  options.include_stop = flags & 1;
  for (int n = flags >> 1 & 3; n > 0; --n) {
    // A stop string comes from a request, so it is valid UTF-8.
    std::string stop = replace_invalid_utf8(take(next() % 6));
    if (!stop.empty()) options.stop.push_back(std::move(stop));
  }
  Pieces tokenizer;
  std::string bytes;
  while (!input.empty()) {
    tokenizer.pieces.push_back(take(next() % 5));
    bytes += tokenizer.pieces.back();
  }
  TokenStream stream(tokenizer, options);
  std::string text;
  for (TokenId id = 0; id < tokenizer.vocabulary_size(); ++id) {
    const std::string part = stream.push(id);
    expect(is_valid_utf8(part));
    text += part;
  }
  text += stream.finish();
  bool stopped = false;
  expect(text == whole_text(bytes, options, stopped));
  expect(stream.stopped() == stopped);
  return 0;
}
