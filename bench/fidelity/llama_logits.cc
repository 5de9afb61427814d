// llama.cpp's logits: `llama_logits MODEL [--cache-type TYPE] [--no-repack] [--threads N]`. Standard input: for each
// sequence a u32 count and that many u32 tokens. Standard output: u32 vocabulary, then float[count - 1][vocabulary] of
// each sequence, the logits behind every token but the last. All settings but those given are llama.cpp's defaults.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "llama.h"

namespace {

struct Sequence {
  std::vector<llama_token> tokens;
};

std::vector<Sequence> read_sequences() {
  std::vector<Sequence> sequences;
  uint32_t count = 0;
  while (std::fread(&count, sizeof(count), 1, stdin) == 1) {
    Sequence sequence{std::vector<llama_token>(count)};
    if (std::fread(sequence.tokens.data(), sizeof(llama_token), count, stdin) != count) std::exit(2);
    sequences.push_back(std::move(sequence));
  }
  return sequences;
}

ggml_type cache_type(const char* name) {
  for (int type = 0; type < GGML_TYPE_COUNT; ++type) {
    const char* known = ggml_type_name(static_cast<ggml_type>(type));
    if (known && std::strcmp(known, name) == 0) return static_cast<ggml_type>(type);
  }
  std::fprintf(stderr, "no type %s\n", name);
  std::exit(2);
}

bool write_logits(llama_context* context, const std::vector<llama_token>& tokens, int32_t vocabulary) {
  llama_memory_clear(llama_get_memory(context), true);
  const auto wanted = static_cast<int32_t>(tokens.size()) - 1;
  const auto most = static_cast<int32_t>(llama_n_batch(context));
  llama_batch batch = llama_batch_init(most, 0, 1);
  for (int32_t first = 0; first < wanted; first += most) {
    batch.n_tokens = std::min(most, wanted - first);
    for (int32_t i = 0; i < batch.n_tokens; ++i) {
      batch.token[i] = tokens[static_cast<size_t>(first + i)];
      batch.pos[i] = first + i;
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = 1;
    }
    if (llama_decode(context, batch) != 0) return false;
    for (int32_t i = 0; i < batch.n_tokens; ++i) {
      const size_t n = static_cast<size_t>(vocabulary);
      if (std::fwrite(llama_get_logits_ith(context, i), sizeof(float), n, stdout) != n) return false;
    }
  }
  llama_batch_free(batch);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  llama_model_params model_parameters = llama_model_default_params();
  llama_context_params parameters = llama_context_default_params();
  for (int i = 2; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--no-repack") {
      model_parameters.use_extra_bufts = false;
    } else if (flag == "--cache-type" && i + 1 < argc) {
      parameters.type_k = parameters.type_v = cache_type(argv[++i]);
    } else if (flag == "--threads" && i + 1 < argc) {
      parameters.n_threads = parameters.n_threads_batch = std::atoi(argv[++i]);
    } else {
      std::fprintf(stderr, "unknown flag %s\n", flag.c_str());
      return 2;
    }
  }
  llama_log_set(
      [](ggml_log_level level, const char* text, void*) {
        if (level >= GGML_LOG_LEVEL_WARN) std::fputs(text, stderr);
      },
      nullptr);
  llama_model* model = llama_model_load_from_file(argv[1], model_parameters);
  if (!model) return 1;
  const std::vector<Sequence> sequences = read_sequences();
  size_t longest = 1;
  for (const Sequence& sequence : sequences) longest = std::max(longest, sequence.tokens.size());
  parameters.n_ctx = static_cast<uint32_t>((longest + 255) / 256 * 256);
  llama_context* context = llama_init_from_model(model, parameters);
  if (!context) return 1;
  const int32_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  const auto width = static_cast<uint32_t>(vocabulary);
  std::fwrite(&width, sizeof(width), 1, stdout);
  for (const Sequence& sequence : sequences) {
    if (!write_logits(context, sequence.tokens, vocabulary)) return 1;
  }
  std::fflush(stdout);
  return 0;
}
