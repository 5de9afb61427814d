// Which files of a repository make the model: choose_files() and split_pieces() of repository.h.
#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "hub/names.h"
#include "hub/repository.h"

namespace carronade {
namespace {

// Best first. Q4_K_M: near the full model's quality at 0.6 bytes a weight; below Q4 small models suffer.
constexpr std::array<std::string_view, 14> kPreferred = {"q4_k_m", "q4_0",   "q8_0", "q5_k_m", "q6_k",
                                                         "q4_k_s", "q5_k_s", "q5_0", "q4_1",   "q4_k_l",
                                                         "bf16",   "f16",    "fp16", "f32"};

constexpr std::string_view kPieceSuffix = "-00001-of-00001";  // its length is what counts

bool ends_with(std::string_view path, std::string_view suffix) { return lower_case(path).ends_with(suffix); }

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

struct Piece {
  int number = 1;
  int count = 1;
  std::string_view stem;  // the path without "-00001-of-00003.gguf", or without ".gguf"
};

Piece parse_piece(std::string_view path) {
  Piece piece;
  piece.stem = path.substr(0, path.size() - std::min<size_t>(5, path.size()));
  if (piece.stem.size() <= kPieceSuffix.size()) return piece;
  const std::string_view suffix = piece.stem.substr(piece.stem.size() - kPieceSuffix.size());
  const auto number = [](std::string_view digits, int& value) {
    return digits.find_first_not_of("0123456789") == std::string_view::npos &&
           std::from_chars(digits.data(), digits.data() + digits.size(), value).ec == std::errc();
  };
  Piece split = piece;
  if (suffix[0] != '-' || suffix.substr(6, 4) != "-of-" || !number(suffix.substr(1, 5), split.number) ||
      !number(suffix.substr(10, 5), split.count)) {
    return piece;
  }
  split.stem = piece.stem.substr(0, piece.stem.size() - kPieceSuffix.size());
  return split;
}

// A GGUF file with a language model in it, and of a split one only the first piece.
bool is_gguf_model(const RemoteFile& file) {
  const std::string name = lower_case(base_name(file.path));
  return name.ends_with(".gguf") && name.find("mmproj") == std::string::npos &&
         name.find("imatrix") == std::string::npos && parse_piece(file.path).number == 1;
}

// "x-Q4_K_M.gguf", "x.q4_k_m.gguf", "Q4_K_M/x.gguf", "Q4_K_M.gguf".
bool has_quantization(const RemoteFile& file, std::string_view quantization) {
  const std::string stem = lower_case(parse_piece(file.path).stem);
  const size_t slash = stem.rfind('/');
  const std::string_view name = base_name(stem);
  if (name.ends_with(quantization)) {
    const size_t before = name.size() - quantization.size();
    if (before == 0 || name[before - 1] == '-' || name[before - 1] == '.' || name[before - 1] == '_') return true;
  }
  return slash != std::string::npos && base_name(std::string_view(stem).substr(0, slash)) == quantization;
}

std::string listing(const std::vector<const RemoteFile*>& files) {
  constexpr size_t kShown = 30;
  std::vector<std::string> names;
  for (const RemoteFile* file : files) names.push_back(file->path);
  std::ranges::sort(names);
  const size_t left_off = names.size() > kShown ? names.size() - kShown : 0;
  names.resize(names.size() - left_off);
  return fmt::format("{}{}", fmt::join(names, ", "), left_off > 0 ? fmt::format(" and {} more", left_off) : "");
}

const RemoteFile* find_path(const std::vector<RemoteFile>& files, std::string_view path) {
  const auto found = std::ranges::find(files, path, &RemoteFile::path);
  return found == files.end() ? nullptr : &*found;
}

std::vector<RemoteFile> with_pieces(const std::vector<RemoteFile>& files, const RemoteFile& first) {
  std::vector<RemoteFile> result;
  for (const std::string& path : split_pieces(first.path)) {
    const RemoteFile* piece = find_path(files, path);
    if (!piece) throw_error(ErrorCode::kNotFound, "the repository lacks {}, a piece of {}", path, first.path);
    result.push_back(*piece);
  }
  return result;
}

// Weights as published: safetensors in the repository's own folder.
bool is_weights(std::string_view path) {
  return path.find('/') == std::string_view::npos && path.ends_with(".safetensors") &&
         !path.starts_with("consolidated") && !path.starts_with("adapter_");
}

bool belongs_to_safetensors(const RemoteFile& file) {
  static constexpr std::array<std::string_view, 12> kCompanions = {"tokenizer.json",
                                                                   "1_Pooling/config.json",
                                                                   "tokenizer_config.json",
                                                                   "tokenizer.model",
                                                                   "vocab.json",
                                                                   "merges.txt",
                                                                   "special_tokens_map.json",
                                                                   "added_tokens.json",
                                                                   "generation_config.json",
                                                                   "chat_template.jinja",
                                                                   "chat_template.json",
                                                                   "model.safetensors.index.json"};
  const std::string& path = file.path;
  if (is_weights(path)) return true;
  return std::ranges::find(kCompanions, path) != kCompanions.end();
}

std::vector<RemoteFile> choose_safetensors(const std::vector<RemoteFile>& files, std::string_view repository) {
  const RemoteFile* config = find_path(files, "config.json");
  std::vector<RemoteFile> result;
  bool weights = false;
  for (const RemoteFile& file : files) {
    if (!belongs_to_safetensors(file)) continue;
    weights = weights || file.path.ends_with(".safetensors");
    result.push_back(file);
  }
  if (!config || !weights) {
    std::vector<const RemoteFile*> all;
    for (const RemoteFile& file : files) all.push_back(&file);
    throw_error(ErrorCode::kNotFound,
                "{} holds no model this program reads (*.gguf, or config.json with *.safetensors); it holds: {}",
                repository, all.empty() ? "nothing" : listing(all));
  }
  result.insert(result.begin(), *config);
  return result;
}

const RemoteFile* choose_preferred(const std::vector<const RemoteFile*>& models) {
  if (models.size() == 1) return models.front();
  for (const std::string_view quantization : kPreferred) {
    for (const RemoteFile* file : models) {
      if (has_quantization(*file, quantization)) return file;
    }
  }
  return nullptr;
}

}  // namespace

std::vector<std::string> split_pieces(std::string_view path) {
  if (!ends_with(path, ".gguf")) return {std::string(path)};
  const Piece piece = parse_piece(path);
  if (piece.count < 1 || piece.count > 1000 || piece.number < 1 || piece.number > piece.count) {
    throw_error(ErrorCode::kInvalidArgument, "{} is not a sensible piece of a split file", path);
  }
  if (piece.stem.size() + 5 == path.size()) return {std::string(path)};
  std::vector<std::string> pieces;
  for (int i = 1; i <= piece.count; ++i)
    pieces.push_back(fmt::format("{}-{:05}-of-{:05}.gguf", piece.stem, i, piece.count));
  return pieces;
}

std::vector<RemoteFile> choose_files(const std::vector<RemoteFile>& files, std::string_view selector,
                                     std::string_view repository) {
  if (const RemoteFile* exact = find_path(files, selector)) return with_pieces(files, *exact);
  std::vector<const RemoteFile*> models;
  for (const RemoteFile& file : files) {
    if (is_gguf_model(file)) models.push_back(&file);
  }
  if (selector.empty()) {
    // Where both are, the published ones are what the repository's name means; a quantization can be asked for.
    const bool published = find_path(files, "config.json") &&
                           std::ranges::any_of(files, [](const RemoteFile& file) { return is_weights(file.path); });
    if (models.empty() || published) return choose_safetensors(files, repository);
    if (const RemoteFile* file = choose_preferred(models)) return with_pieces(files, *file);
    throw_error(ErrorCode::kNotFound, "{} has several models; choose one with {}:FILE from: {}", repository, repository,
                listing(models));
  }
  const std::string wanted = lower_case(selector);
  for (const RemoteFile* file : models) {
    if (has_quantization(*file, wanted) || lower_case(file->path) == wanted) return with_pieces(files, *file);
  }
  throw_error(ErrorCode::kNotFound, "{} has no file or quantization '{}'; it has: {}", repository, selector,
              models.empty() ? "no GGUF files" : listing(models));
}

}  // namespace carronade
