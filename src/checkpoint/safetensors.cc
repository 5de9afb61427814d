#include "checkpoint/safetensors.h"

#include <algorithm>
#include <mutex>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "checkpoint/byte_cursor.h"
#include "checkpoint/end_of_generation.h"
#include "checkpoint/json_file.h"
#include "checkpoint/published_config.h"
#include "checkpoint/safetensors_file.h"
#include "checkpoint/utf8.h"

namespace carronade {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr uint64_t kMostTokenizerBytes = 256 << 20;
constexpr size_t kMostFiles = 4096;

[[noreturn]] void corrupt(const fs::path& file, const std::string& message) {
  throw Error(ErrorCode::kCorruptFile, file.string() + ": " + message, file.string());
}

class SafetensorsCheckpoint final : public Checkpoint {
 public:
  explicit SafetensorsCheckpoint(const fs::path& path);

  const fs::path& path() const override { return path_; }
  std::string_view format() const override { return "safetensors"; }
  uint64_t file_bytes() const override { return file_bytes_; }
  const std::vector<TensorView>& tensors() const override { return tensors_; }
  const Metadata& metadata() const override { return config_.metadata; }

  const TensorView* find(std::string_view name) const override {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &tensors_[found->second];
  }

  TokenizerData tokenizer_data() const override { return tokenizer(); }
  std::optional<std::string> chat_template() const override { return string("tokenizer.chat_template"); }
  std::vector<TokenId> end_of_generation() const override;

 private:
  void read_config();
  void read_templates();
  void read_pooling();
  std::vector<fs::path> weight_files() const;
  std::vector<fs::path> indexed_files(const json& index, const fs::path& file) const;
  void add_file(const fs::path& path, std::set<std::string>& published);
  void add_tensor(const SafetensorsEntry& entry, const MappedFile& file);
  void add_rope_factors();
  void note_ends(const json& config, const fs::path& file);
  TokenId token_id(const json& value, const char* key, const fs::path& file) const;
  const TokenizerData& tokenizer() const;

  fs::path path_;  // as it was asked for
  fs::path folder_;
  fs::path single_;  // the one file that was asked for, or empty
  PublishedConfig config_;
  std::vector<TokenId> ends_;  // that the files name
  uint64_t file_bytes_ = 0;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string_view, size_t> by_name_;

  mutable std::once_flag tokenizer_once_;
  mutable TokenizerData tokenizer_;  // read when first asked for: tokenizer.json takes longer than all the rest
};

SafetensorsCheckpoint::SafetensorsCheckpoint(const fs::path& path) : path_(path) {
  const bool is_folder = fs::is_directory(path);
  folder_ = is_folder ? path : path.parent_path();
  if (!is_folder) single_ = path;
  read_config();
  read_templates();
  read_pooling();
  std::set<std::string> published;
  for (const fs::path& file : weight_files()) add_file(file, published);
  add_rope_factors();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (!by_name_.emplace(tensors_[i].name, i).second) {
      corrupt(path_, fmt::format("two tensors mean {}", printable(tensors_[i].name)));
    }
  }
}

void SafetensorsCheckpoint::read_config() {
  const fs::path file = folder_ / "config.json";
  const auto config = read_json_object(file);
  if (!config)
    throw Error(ErrorCode::kNotFound, fmt::format("{} is missing: safetensors need it beside them", file.string()),
                file.string());
  config_ = translate_config(*config, file.string());
  const std::string name = (folder_.filename().empty() ? folder_.parent_path() : folder_).filename().string();
  config_.metadata["general.name"] = repaired_utf8(name);
  note_ends(*config, file);
  const fs::path generation_file = folder_ / "generation_config.json";
  if (const auto generation = read_json_object(generation_file)) {
    translate_generation_config(*generation, config_.metadata);
    note_ends(*generation, generation_file);
  }
}

TokenId SafetensorsCheckpoint::token_id(const json& value, const char* key, const fs::path& file) const {
  if (value.is_number_integer() && value >= 0 && value < config_.vocabulary) return value.get<TokenId>();
  const std::string found = printable(value.dump(-1, ' ', true, json::error_handler_t::replace));
  corrupt(file, fmt::format("\"{}\" should be token ids below {}, found {}", key, config_.vocabulary, found));
}

// `eos_token_id` is one id or a list; the generation's own list counts first, and the first id is the one that files
// and templates mean.
void SafetensorsCheckpoint::note_ends(const json& config, const fs::path& file) {
  const auto value = config.find("eos_token_id");
  if (value != config.end() && !value->is_null()) {
    std::vector<TokenId> ids;
    if (value->is_array()) {
      for (const json& id : *value) ids.push_back(token_id(id, "eos_token_id", file));
    } else {
      ids.push_back(token_id(*value, "eos_token_id", file));
    }
    if (!ids.empty()) config_.metadata["tokenizer.ggml.eos_token_id"] = int64_t{ids.front()};
    ends_.insert(ends_.end(), ids.begin(), ids.end());
  }
  const auto begin = config.find("bos_token_id");
  if (begin != config.end() && !begin->is_null() && !begin->is_array()) {
    config_.metadata["tokenizer.ggml.bos_token_id"] = int64_t{token_id(*begin, "bos_token_id", file)};
  }
}

// chat_template.jinja, else chat_template.json, else the field of tokenizer_config.json: a text, or a list of named
// ones.
void SafetensorsCheckpoint::read_templates() {
  const auto note = [&](const json& value, const fs::path& file) {
    if (value.is_string()) {
      config_.metadata["tokenizer.chat_template"] = repaired_utf8(value.get<std::string>());
      return;
    }
    if (!value.is_array()) corrupt(file, "\"chat_template\" should be a text or a list of named texts");
    for (const json& element : value) {
      const bool sound = element.is_object() && element.contains("name") && element["name"].is_string() &&
                         element.contains("template") && element["template"].is_string();
      if (!sound) corrupt(file, "an element of \"chat_template\" should have a \"name\" and a \"template\"");
      const auto name = element["name"].get<std::string>();
      const std::string key = name == "default" ? "tokenizer.chat_template" : "tokenizer.chat_template." + name;
      config_.metadata[key] = repaired_utf8(element["template"].get<std::string>());
    }
  };
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    const auto config = read_json_object(folder_ / name);
    if (config && config->contains("chat_template") && !(*config)["chat_template"].is_null()) {
      note((*config)["chat_template"], folder_ / name);
    }
  }
  const fs::path file = folder_ / "chat_template.jinja";
  if (fs::exists(file))
    config_.metadata["tokenizer.chat_template"] = repaired_utf8(carronade::read_file(file, kMostConfigBytes));
}

// sentence-transformers' description of how an embedding model pools; numbers as in GGUF: 0 none, 1 mean, 2 first, 3
// last.
void SafetensorsCheckpoint::read_pooling() {
  const auto pooling = read_json_object(folder_ / "1_Pooling" / "config.json");
  if (!pooling) return;
  const auto on = [&](const char* key) {
    const auto found = pooling->find(key);
    return found != pooling->end() && found->is_boolean() && found->get<bool>();
  };
  const int64_t type = on("pooling_mode_mean_tokens") ? 1
                       : on("pooling_mode_cls_token") ? 2
                       : on("pooling_mode_lasttoken") ? 3
                                                      : 0;
  config_.metadata[config_.architecture + ".pooling_type"] = type;
}

std::vector<fs::path> SafetensorsCheckpoint::weight_files() const {
  const fs::path index_file = folder_ / "model.safetensors.index.json";
  const fs::path whole = folder_ / "model.safetensors";
  const auto index = single_.empty() || !fs::exists(whole) ? read_json_object(index_file) : std::nullopt;
  if (index) return indexed_files(*index, index_file);
  if (!single_.empty()) return {single_};
  if (fs::exists(whole)) return {whole};
  const bool pickled =
      fs::exists(folder_ / "pytorch_model.bin") || fs::exists(folder_ / "pytorch_model.bin.index.json");
  throw Error(ErrorCode::kNotFound,
              fmt::format("{}: neither model.safetensors nor model.safetensors.index.json is there{}", folder_.string(),
                          pickled ? "; pytorch_model.bin is not supported, as loading it can run code" : ""),
              folder_.string());
}

std::vector<fs::path> SafetensorsCheckpoint::indexed_files(const json& index, const fs::path& file) const {
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty())
    corrupt(file, "\"weight_map\" should be an object of tensors and files");
  std::set<std::string> names;
  for (const auto& [tensor, value] : map->items()) {
    if (!value.is_string()) corrupt(file, fmt::format("the file of {} should be a text", printable(tensor)));
    const auto name = value.get<std::string>();
    // A name only: nothing outside of the folder is opened on a file's word.
    if (name.empty() || name.find('/') != name.npos || name.find('\0') != name.npos ||
        !name.ends_with(".safetensors")) {
      corrupt(file, fmt::format("{} should lie in a .safetensors file of this folder, not in \"{}\"", printable(tensor),
                                printable(name)));
    }
    names.insert(name);
  }
  if (names.size() > kMostFiles)
    corrupt(file, fmt::format("{} files are named; at most {} are supported", names.size(), kMostFiles));
  std::vector<fs::path> paths;
  for (const std::string& name : names) {
    if (!fs::exists(folder_ / name)) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("{}: the file is missing that {} names", (folder_ / name).string(), file.string()),
                  (folder_ / name).string());
    }
    paths.push_back(folder_ / name);
  }
  return paths;
}

void SafetensorsCheckpoint::add_file(const fs::path& path, std::set<std::string>& published) {
  auto file = std::make_unique<MappedFile>(path);
  for (const SafetensorsEntry& entry : parse_safetensors(file->bytes(), path.string())) {
    if (!published.insert(entry.name).second)
      corrupt(path, fmt::format("the tensor {} is in another file too", printable(entry.name)));
    add_tensor(entry, *file);
  }
  file_bytes_ += file->bytes().size();
  files_.push_back(std::move(file));
}

void SafetensorsCheckpoint::add_tensor(const SafetensorsEntry& entry, const MappedFile& file) {
  const std::string name = translate_tensor_name(config_.architecture, entry.name);
  if (name.empty() || (config_.tied_embeddings && name == "output.weight")) return;
  std::optional<DType> dtype;
  if (entry.dtype == "F32" || entry.dtype == "F16" || entry.dtype == "BF16") dtype = dtype_of_name(entry.dtype);
  if (!dtype) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("{}: tensor {} has the dtype {}, which is not supported; supported: F32 F16 BF16",
                            file.path().string(), printable(entry.name), entry.dtype),
                file.path().string());
  }
  if (entry.shape.empty() || entry.shape.size() > 4 || entry.bytes.empty()) {
    corrupt(file.path(), fmt::format("tensor {} should have 1 to 4 dimensions, none of them 0", printable(entry.name)));
  }
  tensors_.push_back({name, *dtype, entry.shape, entry.bytes, &file});
}

// GGUF has the factors as a tensor; here they come from the configuration.
void SafetensorsCheckpoint::add_rope_factors() {
  if (config_.rope_factors.empty()) return;
  const auto bytes = std::as_bytes(std::span(config_.rope_factors));
  tensors_.push_back(
      {"rope_freqs.weight", DType::kF32, {static_cast<int64_t>(config_.rope_factors.size())}, bytes, nullptr});
}

const TokenizerData& SafetensorsCheckpoint::tokenizer() const {
  std::call_once(tokenizer_once_, [&] {
    const fs::path file = folder_ / "tokenizer.json", config_file = folder_ / "tokenizer_config.json";
    if (!fs::exists(file))
      throw Error(ErrorCode::kUnsupported, fmt::format("{} is missing: there is no tokenizer", file.string()),
                  file.string());
    const std::string config =
        fs::exists(config_file) ? carronade::read_file(config_file, kMostConfigBytes) : std::string();
    try {
      tokenizer_ = tokenizer_data_from_json(carronade::read_file(file, kMostTokenizerBytes), config);
    } catch (const Error& error) {
      if (error.param == file.string()) throw;
      throw Error(error.code, fmt::format("{}: {}", file.string(), error.what()), file.string());
    }
    const auto vocabulary = static_cast<size_t>(config_.vocabulary);
    if (tokenizer_.tokens.size() > vocabulary) {
      corrupt(file, fmt::format("it has {} tokens, and config.json says {}", tokenizer_.tokens.size(), vocabulary));
    }
    // Embeddings are often padded; GGUF files name the rows that no text ever makes.
    if (tokenizer_.types.empty()) tokenizer_.types.assign(tokenizer_.tokens.size(), TokenType::kNormal);
    tokenizer_.types.resize(vocabulary, TokenType::kUnused);
    if (!tokenizer_.scores.empty()) tokenizer_.scores.resize(vocabulary, 0.0f);
    tokenizer_.tokens.reserve(vocabulary);
    while (tokenizer_.tokens.size() < vocabulary)
      tokenizer_.tokens.push_back(fmt::format("[PAD{}]", tokenizer_.tokens.size()));
    if (tokenizer_.eos < 0) tokenizer_.eos = static_cast<TokenId>(integer("tokenizer.ggml.eos_token_id").value_or(-1));
    if (tokenizer_.bos < 0) tokenizer_.bos = static_cast<TokenId>(integer("tokenizer.ggml.bos_token_id").value_or(-1));
  });
  return tokenizer_;
}

std::vector<TokenId> SafetensorsCheckpoint::end_of_generation() const {
  EndOfGenerationFinder finder;
  std::vector<TokenId> named = ends_;
  if (fs::exists(folder_ / "tokenizer.json")) {
    const TokenizerData& data = tokenizer();
    for (size_t id = 0; id < data.tokens.size(); ++id) {
      finder.visit(static_cast<TokenId>(id), data.tokens[id], data.types[id] == TokenType::kControl);
    }
    named.push_back(data.eos);
  }
  return finder.finish(named);
}

}  // namespace

std::shared_ptr<const Checkpoint> open_safetensors(const fs::path& path) {
  return std::make_shared<SafetensorsCheckpoint>(path);
}

}  // namespace carronade
