#include "checkpoint/gguf.h"

#include <cctype>
#include <unordered_map>

#include "base/error.h"
#include "checkpoint/end_of_generation.h"
#include "checkpoint/utf8.h"

namespace carronade {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type";
constexpr std::string_view kScores = "tokenizer.ggml.scores";
constexpr std::string_view kMerges = "tokenizer.ggml.merges";

template <typename T>
std::vector<T> numbers(const GgufList& list) {
  std::vector<T> result(list.count);
  if (list.count > 0) std::memcpy(result.data(), list.bytes.data(), list.count * sizeof(T));
  return result;
}

class GgufCheckpoint final : public Checkpoint {
 public:
  explicit GgufCheckpoint(std::filesystem::path path) : path_(std::move(path)) {}

  // The first part gives the metadata, every part its tensors. `file` is null for bytes in memory.
  void add_part(std::span<const std::byte> bytes, const std::string& name, std::unique_ptr<MappedFile> file,
                GgufContents contents, TensorData data) {
    for (GgufTensor& tensor : contents.tensors) {
      const bool inside = data == TensorData::kPresent;
      tensors_.push_back({std::move(tensor.name), tensor.dtype, std::move(tensor.shape),
                          inside ? bytes.subspan(tensor.offset, tensor.size) : std::span<const std::byte>(),
                          file.get()});
    }
    contents.tensors.clear();
    file_bytes_ += bytes.size();
    if (first_file_name_.empty()) {
      first_file_name_ = name;
      head_ = std::move(contents);
      format_ = fmt::format("GGUF v{}", head_.version);
    }
    if (file) files_.push_back(std::move(file));
  }

  // After the last part: checks what concerns the whole.
  void finish() {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (!by_name_.emplace(tensors_[i].name, i).second) {
        corrupt(fmt::format("the tensor {} stands in two parts", printable(tensors_[i].name)));
      }
    }
    check_tokenizer();
  }

  const std::filesystem::path& path() const override { return path_; }
  std::string_view format() const override { return format_; }
  uint64_t file_bytes() const override { return file_bytes_; }
  const std::vector<TensorView>& tensors() const override { return tensors_; }
  const std::map<std::string, MetadataValue, std::less<>>& metadata() const override { return head_.metadata; }

  const TensorView* find(std::string_view name) const override {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &tensors_[found->second];
  }

  TokenizerData tokenizer_data() const override;
  std::optional<std::string> chat_template() const override;
  std::vector<TokenId> end_of_generation() const override;

 private:
  [[noreturn]] void corrupt(const std::string& message) const {
    throw Error(ErrorCode::kCorruptFile, first_file_name_ + ": " + message, first_file_name_);
  }

  const GgufList* list(std::string_view key) const {
    const auto found = head_.lists.find(key);
    return found == head_.lists.end() ? nullptr : &found->second;
  }

  void check_list(std::string_view key, GgufType type, std::string_view type_name, uint64_t count) const;
  void check_tokenizer() const;
  TokenId token_id(std::string_view key) const;
  std::vector<TokenType> token_types() const;

  std::filesystem::path path_;
  std::string format_;
  std::string first_file_name_;  // the file that holds the metadata, for errors
  uint64_t file_bytes_ = 0;
  std::vector<std::unique_ptr<MappedFile>> files_;
  GgufContents head_;
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;
};

void GgufCheckpoint::check_list(std::string_view key, GgufType type, std::string_view type_name, uint64_t count) const {
  const GgufList* found = list(key);
  if (!found) return;
  if (found->type != type) {
    corrupt(fmt::format("at byte {}: {} should be a list of {}, its elements have the type {}", found->offset, key,
                        type_name, static_cast<uint32_t>(found->type)));
  }
  if (found->count != count) {
    corrupt(fmt::format("at byte {}: {} has {} elements for {} tokens", found->offset, key, found->count, count));
  }
}

void GgufCheckpoint::check_tokenizer() const {
  const GgufList* tokens = list(kTokens);
  if (!tokens) return;
  check_list(kTokens, GgufType::kString, "texts", tokens->count);
  check_list(kTypes, GgufType::kI32, "32-bit integers", tokens->count);
  check_list(kScores, GgufType::kF32, "32-bit floats", tokens->count);
  if (const GgufList* merges = list(kMerges)) check_list(kMerges, GgufType::kString, "texts", merges->count);
  if (const GgufList* types = list(kTypes)) {
    const std::vector<int32_t> values = numbers<int32_t>(*types);
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] >= 0 && values[i] <= static_cast<int32_t>(TokenType::kByte)) continue;
      corrupt(
          fmt::format("at byte {}: token {} has the type {}; known are 0 to 6", types->offset + 4 * i, i, values[i]));
    }
  }
  for (const std::string_view name : {"bos", "eos", "eot", "eom"})
    token_id(fmt::format("tokenizer.ggml.{}_token_id", name));
}

// -1 when the file names none. Writers spell "none" as -1 too, whatever the width. An unusable padding or unknown token
// harms nobody.
TokenId GgufCheckpoint::token_id(std::string_view key) const {
  const auto value = integer(key);
  if (!value || *value == -1 || *value == 0xFFFFFFFFll) return -1;
  const GgufList* tokens = list(kTokens);
  const auto count = static_cast<int64_t>(tokens ? tokens->count : 0);
  if (*value >= 0 && *value < count) return static_cast<TokenId>(*value);
  if (key.find(".padding_") != key.npos || key.find(".unknown_") != key.npos) return -1;
  corrupt(fmt::format("{} is {}, and there are {} tokens", key, *value, count));
}

std::vector<TokenType> GgufCheckpoint::token_types() const {
  std::vector<TokenType> types;
  const GgufList* found = list(kTypes);
  if (!found) return types;
  types.reserve(found->count);
  for (const int32_t value : numbers<int32_t>(*found)) {
    const bool known = value >= 1 && value <= static_cast<int32_t>(TokenType::kByte);
    types.push_back(known ? static_cast<TokenType>(value) : TokenType::kNormal);  // 0: some writers' "undefined"
  }
  return types;
}

TokenizerData GgufCheckpoint::tokenizer_data() const {
  const GgufList* tokens = list(kTokens);
  const auto model = string("tokenizer.ggml.model");
  if (!tokens || !model) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{}: the file has no tokenizer (metadata tokenizer.ggml.{})", first_file_name_,
                            tokens ? "model" : "tokens"),
                first_file_name_);
  }
  TokenizerData data;
  data.model = *model;
  data.pre = string("tokenizer.ggml.pre").value_or("");
  const auto copy = [&](const GgufList& from, std::vector<std::string>& to) {
    to.reserve(from.count);
    for_each_string(from, first_file_name_, [&](std::string_view text) { to.emplace_back(text); });
  };
  copy(*tokens, data.tokens);
  if (const GgufList* merges = list(kMerges)) copy(*merges, data.merges);
  if (const GgufList* scores = list(kScores)) data.scores = numbers<float>(*scores);
  data.types = token_types();
  data.bos = token_id("tokenizer.ggml.bos_token_id");
  data.eos = token_id("tokenizer.ggml.eos_token_id");
  data.unknown = token_id("tokenizer.ggml.unknown_token_id");
  data.padding = token_id("tokenizer.ggml.padding_token_id");
  // What llama.cpp assumes where the file is silent: SentencePiece vocabularies begin with their BOS, WordPiece is
  // framed by both.
  data.add_bos = boolean("tokenizer.ggml.add_bos_token").value_or(data.model == "llama" || data.model == "bert");
  data.add_eos = boolean("tokenizer.ggml.add_eos_token").value_or(data.model == "bert");
  data.add_space_prefix = boolean("tokenizer.ggml.add_space_prefix").value_or(true);
  // Copied out: the lists' pages need not stay resident.
  if (!files_.empty()) {
    for (const auto& [key, where] : head_.lists) files_.front()->drop_pages(where.bytes);
  }
  return data;
}

std::optional<std::string> GgufCheckpoint::chat_template() const {
  auto text = string("tokenizer.chat_template");
  return text ? std::move(text) : string("tokenizer.chat_template.default");
}

std::vector<TokenId> GgufCheckpoint::end_of_generation() const {
  EndOfGenerationFinder finder;
  const std::vector<TokenType> types = token_types();
  if (const GgufList* tokens = list(kTokens)) {
    TokenId id = 0;
    for_each_string(*tokens, first_file_name_, [&](std::string_view spelling) {
      const bool special = types.empty() || types[static_cast<size_t>(id)] == TokenType::kControl;
      finder.visit(id++, spelling, special);
    });
  }
  std::vector<TokenId> named;
  for (const std::string_view name : {"eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep"}) {
    named.push_back(token_id(fmt::format("tokenizer.ggml.{}_token_id", name)));
  }
  return finder.finish(named);
}

// `name-00002-of-00005.gguf`
struct PartName {
  std::string prefix;
  int64_t number, count;  // number from 1

  std::string of(int64_t part) const { return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, part, count); }
};

std::optional<PartName> part_name(const std::string& file) {
  constexpr size_t kTail = std::string_view("-00001-of-00001.gguf").size();
  if (file.size() < kTail) return std::nullopt;
  const std::string_view tail = std::string_view(file).substr(file.size() - kTail);
  const auto digits = [&](size_t at) -> int64_t {
    int64_t value = 0;
    for (size_t i = at; i < at + 5; ++i) {
      if (!std::isdigit(static_cast<unsigned char>(tail[i]))) return -1;
      value = value * 10 + (tail[i] - '0');
    }
    return value;
  };
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf" || digits(1) < 1 || digits(10) < 1) {
    return std::nullopt;
  }
  return PartName{file.substr(0, file.size() - kTail), digits(1), digits(10)};
}

int64_t split_number(const GgufContents& contents, std::string_view key, int64_t absent, const std::string& file) {
  const auto found = contents.metadata.find(key);
  if (found == contents.metadata.end()) return absent;
  if (const auto* value = std::get_if<int64_t>(&found->second)) return *value;
  throw Error(ErrorCode::kCorruptFile, fmt::format("{}: metadata {} should be an integer", file, key), file);
}

[[noreturn]] void corrupt_split(const std::string& file, const std::string& message) {
  throw Error(ErrorCode::kCorruptFile, file + ": " + message, file);
}

void check_part(const GgufContents& contents, const std::string& file, int64_t index, int64_t count) {
  const int64_t own_index = split_number(contents, "split.no", -1, file);
  const int64_t own_count = split_number(contents, "split.count", -1, file);
  if (own_count != count)
    corrupt_split(file, fmt::format("split.count is {}, expected {} as in the first part", own_count, count));
  if (own_index != index)
    corrupt_split(file, fmt::format("split.no is {}, expected {} from the file's name", own_index, index));
}

// The other parts of a file that says it has `count` of them.
void add_other_parts(GgufCheckpoint& checkpoint, const std::filesystem::path& path, int64_t count, int64_t total,
                     TensorData data) {
  const std::string first = path.string();
  const auto name = part_name(path.filename().string());
  if (!name || name->count != count) {
    corrupt_split(first, fmt::format("the file is one of {} parts, and its name should end in -00001-of-{:05}.gguf",
                                     count, count));
  }
  for (int64_t part = 2; part <= count; ++part) {
    const std::filesystem::path other = path.parent_path() / name->of(part);
    if (!std::filesystem::exists(other)) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("{}: part {} of {} of {} is missing", other.string(), part, count, first),
                  other.string());
    }
    auto file = std::make_unique<MappedFile>(other);
    const auto bytes = file->bytes();
    GgufContents contents = parse_gguf(bytes, other.string(), data);
    check_part(contents, other.string(), part - 1, count);
    checkpoint.add_part(bytes, other.string(), std::move(file), std::move(contents), data);
  }
  if (total >= 0 && total != static_cast<int64_t>(checkpoint.tensors().size())) {
    corrupt_split(first, fmt::format("split.tensors.count is {}, and the {} parts hold {}", total, count,
                                     checkpoint.tensors().size()));
  }
}

}  // namespace

std::shared_ptr<const Checkpoint> open_gguf(const std::filesystem::path& path, TensorData data) {
  auto file = std::make_unique<MappedFile>(path);
  const auto bytes = file->bytes();
  const std::string name = path.string();
  GgufContents contents = parse_gguf(bytes, name, data);
  const int64_t count = split_number(contents, "split.count", 1, name);
  const int64_t index = split_number(contents, "split.no", 0, name);
  const int64_t total = split_number(contents, "split.tensors.count", -1, name);
  if (count < 0 || count > 99999 || index < 0 || index >= std::max<int64_t>(count, 1)) {
    corrupt_split(name, fmt::format("split.no is {} and split.count is {}", index, count));
  }
  if (index > 0) {
    const auto part = part_name(path.filename().string());
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: this is part {} of {}; open the first part{}", name, index + 1, count,
                            part ? ", " + (path.parent_path() / part->of(1)).string() : ""),
                name);
  }
  auto checkpoint = std::make_shared<GgufCheckpoint>(path);
  checkpoint->add_part(bytes, name, std::move(file), std::move(contents), data);
  if (count > 1) add_other_parts(*checkpoint, path, count, total, data);
  checkpoint->finish();
  return checkpoint;
}

std::shared_ptr<const Checkpoint> open_gguf_bytes(std::span<const std::byte> bytes, const std::filesystem::path& name) {
  auto checkpoint = std::make_shared<GgufCheckpoint>(name);
  checkpoint->add_part(bytes, name.string(), nullptr, parse_gguf(bytes, name.string(), TensorData::kPresent),
                       TensorData::kPresent);
  checkpoint->finish();
  return checkpoint;
}

}  // namespace carronade
