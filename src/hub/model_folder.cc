#include "hub/model_folder.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <regex>
#include <system_error>

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

// "model-00001-of-00003.gguf" stands for its followers; what reads images is no model of its own.
void add_file(const fs::path& path, std::vector<FolderModel>& found) {
  static const std::regex kPart(R"((.*)-(\d{5})-of-\d{5})");
  std::string name = path.stem().string();
  if (!has_extension(path, ".gguf") || name.starts_with("mmproj")) return;
  if (std::smatch part; std::regex_match(name, part, kPart)) {
    if (part[2] != "00001") return;
    name = part[1];
  }
  found.push_back({std::move(name), path});
}

void search(const fs::path& folder, int depth, std::vector<FolderModel>& found) {
  std::error_code ignored;
  for (const InstalledModel& model : Storage(folder).list()) found.push_back({model.name, model.path()});
  for (const fs::path& entry : entries_of(folder)) {
    if (!fs::is_directory(entry, ignored)) {
      add_file(entry, found);
    } else if (fs::exists(entry / "manifest.json", ignored)) {
      continue;  // of the storage's: listed, or not whole
    } else if (is_one_model(entry)) {
      found.push_back({entry.filename().string(), entry});
    } else if (depth > 1) {
      search(entry, depth - 1, found);
    }
  }
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
  std::vector<FolderModel> found;
  search(folder, kDepth, found);
  std::map<std::string, int> count;
  for (const FolderModel& model : found) ++count[model.name];
  for (FolderModel& model : found) {
    if (count[model.name] > 1) model.name = fs::relative(model.path, folder, ignored).replace_extension().string();
  }
  std::ranges::sort(found, {}, &FolderModel::name);
  return found;
}

}  // namespace carronade
