#include "hub/model_folder.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <regex>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "hub/storage.h"

namespace carronade {

namespace {

namespace fs = std::filesystem;

constexpr int kDepth = 3;  // organization/repository/file

bool has_extension(const fs::path& path, std::string_view wanted) {
  std::string extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(), [](unsigned char c) { return std::tolower(c); });
  return extension == wanted;
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code failure;
  for (fs::directory_iterator at(folder, failure), end; !failure && at != end; at.increment(failure)) {
    if (!at->path().filename().string().starts_with(".")) entries.push_back(at->path());
  }
  std::ranges::sort(entries);
  return entries;
}

// Without ".gguf" and the number of a part.
std::string stem_of(const fs::path& file) {
  static const std::regex kPart(R"((.*)-\d{5}-of-\d{5})");
  if (!has_extension(file, ".gguf")) return file.string();
  const std::string stem = fs::path(file).replace_extension().string();
  std::smatch part;
  return std::regex_match(stem, part, kPart) ? part[1].str() : stem;
}

// A model with what it may be called: by itself, by its way from the folder, by its whole way, which no other has.
struct Candidate {
  fs::path path;
  std::array<std::string, 3> names;
  size_t used = 0;

  const std::string& name() const { return names[used]; }
};

class Search {
 public:
  explicit Search(fs::path root) : root_(std::move(root)) {}

  void look_into(const fs::path& folder, int depth);
  std::vector<FolderModel> result();

 private:
  void add_file(const fs::path& path);
  void add(std::string name, const fs::path& path, bool is_file);

  fs::path root_;
  std::vector<fs::path> inside_;  // of these folders, links resolved
  std::vector<Candidate> found_;
};

void Search::add(std::string name, const fs::path& path, bool is_file) {
  const fs::path way = path.lexically_relative(root_);  // a link has its own name, not that of what it points at
  found_.push_back({path, {std::move(name), is_file ? stem_of(way) : way.string(), way.string()}});
}

// "model-00001-of-00003.gguf" stands for its followers; what reads images is no model of its own.
void Search::add_file(const fs::path& path) {
  static const std::regex kFollower(R"(.*-(?!00001)\d{5}-of-\d{5})");
  if (!has_extension(path, ".gguf") || path.filename().string().starts_with("mmproj")) return;
  std::error_code ignored;
  if (fs::is_other(path, ignored)) return;  // a pipe would be waited for
  if (std::regex_match(path.stem().string(), kFollower)) return;
  add(stem_of(path.filename()), path, true);
}

void Search::look_into(const fs::path& folder, int depth) {
  std::error_code ignored;
  const fs::path whole = fs::canonical(folder, ignored);
  if (std::ranges::find(inside_, whole) != inside_.end()) return;  // a link to a folder that it is in
  inside_.push_back(whole);
  for (const InstalledModel& model : Storage(folder).list()) add(model.name, model.path(), model.main != ".");
  for (const fs::path& entry : entries_of(folder)) {
    if (!fs::is_directory(entry, ignored)) {
      add_file(entry);
    } else if (fs::exists(entry / "manifest.json", ignored)) {
      continue;  // of the storage's: listed, or not whole
    } else if (is_one_model(entry)) {
      add(entry.filename().string(), entry, false);
    } else if (depth > 1) {
      look_into(entry, depth - 1);
    }
  }
  inside_.pop_back();
}

std::vector<FolderModel> Search::result() {
  for (bool changed = true; std::exchange(changed, false);) {
    std::map<std::string, int> count;
    for (const Candidate& one : found_) ++count[one.name()];
    for (Candidate& one : found_) {
      if (count[one.name()] == 1 || one.used + 1 == one.names.size()) continue;
      ++one.used;
      changed = true;
    }
  }
  std::vector<FolderModel> models;
  for (Candidate& one : found_) models.push_back({one.name(), std::move(one.path)});
  std::ranges::sort(models, {}, &FolderModel::name);
  return models;
}

}  // namespace

bool is_one_model(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) return false;
  if (fs::exists(folder / "config.json", ignored)) return true;
  return std::ranges::any_of(entries_of(folder),
                             [](const fs::path& entry) { return has_extension(entry, ".safetensors"); });
}

std::vector<FolderModel> models_in(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) throw_error(ErrorCode::kNotFound, "there is no folder {}", folder.string());
  Search search(folder);
  search.look_into(folder, kDepth);
  return search.result();
}

}  // namespace carronade
