#include "cli/checkpoint_summary.h"

#include "checkpoint/checkpoint.h"

namespace carronade {

CheckpointSummary summarize_checkpoint(const std::filesystem::path& path) {
  const auto checkpoint = Checkpoint::open(path);
  CheckpointSummary summary;
  summary.format = checkpoint->format();
  summary.architecture = checkpoint->architecture();
  summary.context_length = checkpoint->integer(summary.architecture + ".context_length");
  summary.layers = checkpoint->integer(summary.architecture + ".block_count");
  summary.has_chat_template = checkpoint->chat_template().has_value();
  for (const TensorView& tensor : checkpoint->tensors()) {
    int64_t count = 1;
    for (const int64_t extent : tensor.shape) count *= extent;
    summary.parameters += count;
    ++summary.types[std::string(info(tensor.dtype).name)];
  }
  return summary;
}

}  // namespace carronade
