// The folder of installed models: one folder a model, complete when its manifest.json is there.
//
//   <root>/<encoded name>/manifest.json    where from, when, which bytes
//   <root>/<encoded name>/model.gguf       the files, by their names at the source
//   <root>/<encoded name>/model.gguf.part  on its way
//   <root>/.locks/<encoded name>           held by who pulls or removes
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"

namespace carronade {

struct InstalledFile {
  std::string path;  // below the model's folder
  uint64_t bytes = 0;
  std::string sha256;
};

struct InstalledModel {
  std::string name;        // canonical, as of ModelReference
  std::string source;      // "https://huggingface.co", "packages", …
  std::string repository;  // org/repo, or empty
  std::string revision;    // a commit where the hub said one
  std::string date;        // UTC, "2026-11-22T17:45:24Z"
  std::string main;        // the file to open; "." for a folder of safetensors
  std::vector<InstalledFile> files;
  std::filesystem::path directory;  // not in the manifest

  std::filesystem::path path() const { return main == "." ? directory : directory / main; }
  uint64_t bytes() const;
};

// Reads are safe from any thread and process at any time; writes happen under lock().
class Storage {
 public:
  explicit Storage(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path directory(const std::string& name) const;

  // nullopt when it is not installed, or a file is missing or has another length. A manifest this program cannot read
  // counts as absent.
  std::optional<InstalledModel> find(const std::string& name) const;
  std::vector<InstalledModel> list() const;  // by name

  void save(InstalledModel& model) const;  // writes the manifest; fills in `date` and `directory`
  // Removes the model with all its files, parts included. False when there was nothing.
  bool remove(const std::string& name) const;

  FileLock lock(const std::string& name) const;  // creates what is needed; not yet taken

 private:
  std::filesystem::path root_;
};

}  // namespace carronade
