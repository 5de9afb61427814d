// A tool of the tests: tokenizes texts with one vocabulary.
//
//   carronade_tokenize VOCABULARY [--parse-special] [--add-special] [--repeat N] [--bytes]
//
// Standard input: for each text its length (32 bits, little endian) and its bytes. Standard output: for each text the
// number of its tokens and the tokens (32 bits each). --repeat: encodes everything N times and reports the best time on
// standard error.
// --bytes: reads lists of tokens instead and answers with the text of each, as a TokenStream gives it.
// VOCABULARY is a tokenizer.json, or what tests/golden/text/vocabularies.py writes (it begins with "CTOK").
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "text/token_stream.h"
#include "text/tokenizer.h"

namespace carronade {
namespace {

std::string read_all(std::istream& in) {
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}
  bool at_end() const { return left_.empty(); }
  uint32_t number() {
    uint32_t value = 0;
    std::memcpy(&value, take(4).data(), 4);
    return value;
  }
  float real() {
    float value = 0;
    std::memcpy(&value, take(4).data(), 4);
    return value;
  }
  std::string_view bytes() { return take(number()); }
  std::string_view take(size_t n) {
    if (n > left_.size()) throw std::runtime_error("the input ends early");
    const std::string_view result = left_.substr(0, n);
    left_.remove_prefix(n);
    return result;
  }

 private:
  std::string_view left_;
};

TokenizerData read_vocabulary(std::string_view file) {
  Reader in(file.substr(4));
  TokenizerData data;
  data.model = in.bytes();
  data.pre = in.bytes();
  data.bos = static_cast<TokenId>(in.number());
  data.eos = static_cast<TokenId>(in.number());
  data.unknown = static_cast<TokenId>(in.number());
  data.padding = static_cast<TokenId>(in.number());
  data.add_bos = in.number() != 0;
  data.add_eos = in.number() != 0;
  data.add_space_prefix = in.number() != 0;
  for (uint32_t n = in.number(); n > 0; --n) data.tokens.emplace_back(in.bytes());
  for (uint32_t n = in.number(); n > 0; --n) data.types.push_back(static_cast<TokenType>(in.number()));
  for (uint32_t n = in.number(); n > 0; --n) data.scores.push_back(in.real());
  for (uint32_t n = in.number(); n > 0; --n) data.merges.emplace_back(in.bytes());
  return data;
}

std::unique_ptr<const Tokenizer> load(const char* path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(std::string("cannot read ") + path);
  const std::string file = read_all(in);
  if (file.starts_with("CTOK")) return Tokenizer::create(read_vocabulary(file));
  return Tokenizer::create(tokenizer_data_from_json(file));
}

// Of this thread: what others do on the machine does not count.
double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void write_number(uint32_t value) { std::fwrite(&value, 4, 1, stdout); }

std::string detokenize(const Tokenizer& tokenizer, Reader& in) {
  TokenStream stream(tokenizer, {.stop = {}, .include_stop = false, .show_special_tokens = true});
  std::string text;
  for (uint32_t n = in.number(); n > 0; --n) text += stream.push(static_cast<TokenId>(in.number()));
  return text + stream.finish();
}

int run(int argc, char** argv) {
  if (argc < 2) throw std::runtime_error("usage: carronade_tokenize VOCABULARY [options]");
  EncodeOptions options;
  int repeat = 1;
  bool bytes = false;
  for (int i = 2; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--parse-special") {
      options.parse_special = true;
    } else if (argument == "--add-special") {
      options.add_special = true;
    } else if (argument == "--bytes") {
      bytes = true;
    } else if (argument == "--repeat" && i + 1 < argc) {
      repeat = std::stoi(argv[++i]);
    } else {
      throw std::runtime_error("unknown option " + std::string(argument));
    }
  }
  const double load_start = cpu_seconds();
  const auto tokenizer = load(argv[1]);
  const double load_seconds = cpu_seconds() - load_start;
  std::string input;
  char buffer[65536];
  for (size_t n = 0; (n = std::fread(buffer, 1, sizeof(buffer), stdin)) > 0;) input.append(buffer, n);

  Reader in(input);
  if (bytes) {
    while (!in.at_end()) {
      const std::string text = detokenize(*tokenizer, in);
      write_number(static_cast<uint32_t>(text.size()));
      std::fwrite(text.data(), 1, text.size(), stdout);
    }
    return 0;
  }
  std::vector<std::string_view> texts;
  size_t total = 0;
  while (!in.at_end()) total += texts.emplace_back(in.bytes()).size();
  double best = 1e30;
  std::vector<std::vector<TokenId>> results;
  for (int i = 0; i < repeat; ++i) {
    results.clear();
    const double start = cpu_seconds();
    for (const std::string_view text : texts) results.push_back(tokenizer->encode(text, options));
    best = std::min(best, cpu_seconds() - start);
  }
  for (const auto& tokens : results) {
    write_number(static_cast<uint32_t>(tokens.size()));
    std::fwrite(tokens.data(), sizeof(TokenId), tokens.size(), stdout);
  }
  std::fprintf(stderr, "{\"load_seconds\": %.6f, \"encode_seconds\": %.6f, \"bytes\": %zu}\n", load_seconds, best,
               total);
  return 0;
}

}  // namespace
}  // namespace carronade

int main(int argc, char** argv) {
  try {
    return carronade::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "carronade_tokenize: %s\n", error.what());
    return 1;
  }
}
