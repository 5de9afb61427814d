// llama.cpp's tokenizer over the texts on standard input (as carronade_tokenize reads them): bytes and the best
// processor time.
#include <ctime>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "llama.h"

static double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_model_params parameters = llama_model_default_params();
  parameters.vocab_only = true;
  const double load_start = cpu_seconds();
  llama_model* model = llama_model_load_from_file(argv[1], parameters);
  if (!model) return 1;
  const double load_seconds = cpu_seconds() - load_start;
  const llama_vocab* vocab = llama_model_get_vocab(model);
  std::string input;
  char buffer[65536];
  for (size_t n = 0; (n = std::fread(buffer, 1, sizeof(buffer), stdin)) > 0;) input.append(buffer, n);
  double best = 1e30;
  size_t bytes = 0, tokens = 0;
  for (int i = 0; i < std::atoi(argv[2]); ++i) {
    bytes = tokens = 0;
    std::vector<llama_token> ids;
    const double start = cpu_seconds();
    for (size_t at = 0; at + 4 <= input.size();) {
      uint32_t length = 0;
      std::memcpy(&length, input.data() + at, 4);
      ids.resize(length + 8);
      const int32_t count = llama_tokenize(vocab, input.data() + at + 4, static_cast<int32_t>(length), ids.data(),
                                           static_cast<int32_t>(ids.size()), false, false);
      tokens += static_cast<size_t>(std::max(count, 0));
      bytes += length;
      at += 4 + length;
    }
    best = std::min(best, cpu_seconds() - start);
  }
  std::printf("{\"load_seconds\": %.6f, \"encode_seconds\": %.6f, \"bytes\": %zu, \"tokens\": %zu}\n", load_seconds,
              best, bytes, tokens);
  return 0;
}
