#include "cli/checkpoint_summary.h"

#include <algorithm>
#include <map>

#include "checkpoint/checkpoint.h"
#include "model/model.h"

namespace carronade {

namespace {

void count_tensors(const Checkpoint& checkpoint, CheckpointSummary& summary) {
  std::map<DType, CheckpointSummary::Type> types;
  for (const TensorView& tensor : checkpoint.tensors()) {
    int64_t count = 1;
    for (const int64_t extent : tensor.shape) count *= extent;
    summary.parameters += count;
    CheckpointSummary::Type& type = types[tensor.dtype];
    type.name = info(tensor.dtype).name;
    ++type.tensors;
    type.numbers += count;
    type.bytes += tensor.bytes.size();
  }
  for (auto& [dtype, type] : types) summary.types.push_back(std::move(type));
  std::ranges::sort(summary.types, std::ranges::greater(), &CheckpointSummary::Type::bytes);
}

}  // namespace

CheckpointSummary summarize_checkpoint(const std::filesystem::path& path) {
  const auto checkpoint = Checkpoint::open(path);
  CheckpointSummary summary;
  summary.format = checkpoint->format();
  summary.name = checkpoint->string("general.name").value_or("");
  summary.licence = checkpoint->string("general.license").value_or("");
  summary.architecture = checkpoint->architecture();
  const auto known = supported_architectures();
  summary.supported = std::ranges::find(known, summary.architecture) != known.end();
  const auto integer = [&](const char* key) { return checkpoint->integer(summary.architecture + key); };
  summary.context_length = integer(".context_length");
  summary.layers = integer(".block_count");
  summary.hidden = integer(".embedding_length");
  summary.heads = integer(".attention.head_count");
  summary.kv_heads = integer(".attention.head_count_kv");
  if (const TensorView* table = checkpoint->find("token_embd.weight")) summary.vocabulary = table->rows();
  summary.tokenizer = checkpoint->string("tokenizer.ggml.model").value_or("");
  if (const auto pre = checkpoint->string("tokenizer.ggml.pre")) summary.tokenizer += " (" + *pre + ")";
  summary.file_bytes = checkpoint->file_bytes();
  summary.chat_template = checkpoint->chat_template();
  summary.memory = memory_need(*checkpoint);
  count_tensors(*checkpoint, summary);
  return summary;
}

}  // namespace carronade
