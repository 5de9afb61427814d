#include "hub/storage.h"

#include <algorithm>
#include <ctime>

#include <fmt/chrono.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "hub/names.h"
#include "hub/part_file.h"

namespace carronade {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kManifestVersion = 1;

std::optional<InstalledModel> read_manifest(const std::filesystem::path& directory) {
  try {
    const Json json = Json::parse(read_file(directory / "manifest.json", 4 << 20));
    if (json.at("version") != kManifestVersion) return std::nullopt;
    InstalledModel model;
    model.name = json.at("name");
    model.source = json.at("source");
    model.repository = json.at("repository");
    model.revision = json.at("revision");
    model.date = json.at("date");
    model.main = json.at("main");
    if (model.main != ".") check_relative_path(model.main);
    for (const Json& file : json.at("files")) {
      model.files.push_back({file.at("path"), file.at("bytes"), file.at("sha256")});
      check_relative_path(model.files.back().path);
    }
    model.directory = directory;
    return model;
  } catch (const Json::exception&) {
    return std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool is_complete(const InstalledModel& model) {
  return !model.files.empty() && std::ranges::all_of(model.files, [&](const InstalledFile& file) {
    std::error_code error;
    return std::filesystem::file_size(model.directory / file.path, error) == file.bytes && !error;
  });
}

}  // namespace

uint64_t InstalledModel::bytes() const {
  uint64_t sum = 0;
  for (const InstalledFile& file : files) sum += file.bytes;
  return sum;
}

std::filesystem::path Storage::directory(const std::string& name) const { return root_ / encode_name(name); }

std::optional<InstalledModel> Storage::find(const std::string& name) const {
  auto model = read_manifest(directory(name));
  // Two names may share a folder on a file system that ignores case.
  if (!model || model->name != name || !is_complete(*model)) return std::nullopt;
  return model;
}

std::vector<InstalledModel> Storage::list() const {
  std::vector<InstalledModel> models;
  std::error_code error;
  for (std::filesystem::directory_iterator at(root_, error), end; !error && at != end; at.increment(error)) {
    if (at->path().filename().string().starts_with(".")) continue;
    if (auto model = read_manifest(at->path()); model && is_complete(*model)) models.push_back(std::move(*model));
  }
  std::ranges::sort(models, {}, &InstalledModel::name);
  return models;
}

void Storage::save(InstalledModel& model) const {
  model.directory = directory(model.name);
  model.date = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  Json files = Json::array();
  for (const InstalledFile& file : model.files)
    files.push_back({{"path", file.path}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  const Json json = {
      {"version", kManifestVersion}, {"name", model.name}, {"source", model.source}, {"repository", model.repository},
      {"revision", model.revision},  {"date", model.date}, {"main", model.main},     {"files", files}};
  write_file_atomically(model.directory / "manifest.json",
                        json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  sync_directory(model.directory);
}

bool Storage::remove(const std::string& name) const {
  const std::filesystem::path path = directory(name);
  std::error_code error;
  // The manifest goes first, so that a half-removed model is no model.
  std::filesystem::remove(path / "manifest.json", error);
  const uintmax_t count = std::filesystem::remove_all(path, error);
  if (error) throw_error(ErrorCode::kIo, "cannot remove {}: {}", path.string(), error.message());
  return count > 0;
}

FileLock Storage::lock(const std::string& name) const {
  std::error_code error;
  std::filesystem::create_directories(root_ / ".locks", error);
  if (error) {
    throw_error(ErrorCode::kIo, "cannot create {}: {}; choose another folder with --download-dir", root_.string(),
                error.message());
  }
  return FileLock(root_ / ".locks" / encode_name(name));
}

}  // namespace carronade
