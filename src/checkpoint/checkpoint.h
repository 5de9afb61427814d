// A checkpoint: the weights of a model and what its files say about them, whatever the file format.
//
// GGUF's vocabulary is the common one: a safetensors reader translates `config.json` to GGUF's metadata keys
// ("qwen2.block_count") and tensor names to GGUF's ("blk.0.attn_q.weight"), so that model/ reads one form only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file.h"
#include "tensor/dtype.h"
#include "text/tokenizer.h"

namespace carronade {

// A view into the mapped file; lives as long as its Checkpoint.
struct TensorView {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;        // outermost first: a weight is [rows (outputs), columns (inputs)]
  std::span<const std::byte> bytes;  // unaligned in safetensors
  const MappedFile* file;  // so that who has copied it can drop its pages; null when the bytes are not a mapped file

  int64_t rows() const;  // product of all but the last dimension
  int64_t columns() const { return shape.back(); }
};

using MetadataValue = std::variant<bool, int64_t, uint64_t, double, std::string, std::vector<bool>,
                                   std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

// Immutable once opened: any thread may read.
class Checkpoint {
 public:
  // `path` is a GGUF file (or the first of a split one), or a folder with safetensors as published (or one .safetensors
  // file of it). Throws Error{kNotFound | kCorruptFile | kUnsupported}: one line that names the file, the place in it
  // and what was expected.
  static std::shared_ptr<const Checkpoint> open(const std::filesystem::path& path);

  // Metadata, tokenizer and the list of tensors of a GGUF file of which perhaps only the beginning is there (a download
  // under way); the tensors' `bytes` are empty.
  static std::shared_ptr<const Checkpoint> open_head(const std::filesystem::path& path);

  virtual ~Checkpoint() = default;

  virtual const std::filesystem::path& path() const = 0;
  virtual std::string_view format() const = 0;  // "GGUF v3", "safetensors"
  virtual uint64_t file_bytes() const = 0;      // of all its files

  virtual const std::vector<TensorView>& tensors() const = 0;
  virtual const TensorView* find(std::string_view name) const = 0;  // nullptr when absent

  // Metadata by GGUF key. The large lists of the tokenizer are not in here but in tokenizer_data().
  virtual const std::map<std::string, MetadataValue, std::less<>>& metadata() const = 0;

  // Typed access: absent → nullopt; present but of another type → Error{kCorruptFile}. real() takes an integer too.
  std::optional<int64_t> integer(std::string_view key) const;
  std::optional<double> real(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;

  std::string architecture() const;  // "qwen2"; Error{kCorruptFile} when the file does not say

  virtual TokenizerData tokenizer_data() const = 0;  // copied out; Error{kUnsupported} when the file has none

  // The default one; others by name: string("tokenizer.chat_template.tool_use").
  virtual std::optional<std::string> chat_template() const = 0;

  // Every token that ends an answer (eos, eot, …): those that the file names, and those known by their spelling.
  // Ascending.
  virtual std::vector<TokenId> end_of_generation() const = 0;

  // Bytes a tensor, by name; Error{kCorruptFile} naming it when absent or not of this shape (-1: any extent).
  const TensorView& require(std::string_view name, std::span<const int64_t> shape) const;
};

}  // namespace carronade
