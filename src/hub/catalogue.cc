#include "hub/catalogue.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "hub/names.h"

namespace carronade {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kBuiltIn =
#include "catalogue_data.inc"
    ;

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error(ErrorCode::kCorruptFile, "model catalogue: " + where + ": " + what, where);
}

void check_sha256(const std::string& where, const std::string& hash) {
  if (!is_sha256(hash)) refuse(where, "sha256 is not 64 lower-case hexadecimal digits");
}

PackagePart parse_part(const std::string& where, const Json& json) {
  PackagePart part;
  part.package = json.at("package");
  part.version = json.at("version");
  part.path = json.at("path");
  part.bytes = json.at("bytes");
  part.sha256 = json.at("sha256");
  check_sha256(where, part.sha256);
  if (part.bytes == 0) refuse(where, "an empty part");
  return part;
}

ModelSource parse_source(const std::string& where, const Json& json) {
  ModelSource source;
  const std::string hub = json.at("hub");
  if (hub == "packages") {
    source.hub = HubKind::kPackages;
    for (const Json& part : json.at("parts")) source.parts.push_back(parse_part(where, part));
    if (source.parts.empty()) refuse(where, "no parts");
    return source;
  }
  if (hub == "modelscope") {
    source.hub = HubKind::kModelScope;
  } else if (hub != "huggingface") {
    refuse(where, "unknown hub " + hub);
  }
  source.endpoint = json.value("endpoint", "");
  source.repository = json.at("repository");
  source.file = json.at("file");
  check_repository(source.repository);
  check_relative_path(source.file);
  return source;
}

// The parts must add up to the file, or progress and the check for free disk would lie.
void check_sizes(const CatalogueEntry& entry) {
  for (const ModelSource& source : entry.sources) {
    if (source.hub != HubKind::kPackages) continue;
    if (!entry.bytes || entry.sha256.empty()) refuse(entry.name, "a file from packages needs bytes and sha256");
    uint64_t sum = 0;
    for (const PackagePart& part : source.parts) sum += part.bytes;
    if (sum != *entry.bytes) refuse(entry.name, "the parts do not add up to the file's bytes");
  }
}

CatalogueEntry parse_entry(const Json& json) {
  CatalogueEntry entry;
  entry.name = json.at("name");
  if (entry.name.empty() || encode_name(entry.name) != entry.name || entry.name != lower_case(entry.name)) {
    refuse(entry.name, "a name is made of a-z 0-9 . _ -");
  }
  entry.description = json.at("description");
  entry.licence = json.at("licence");
  entry.parameters = json.at("parameters");
  entry.context_length = json.at("context_length");
  entry.kv_bytes_per_token = json.value("kv_bytes_per_token", uint64_t{0});
  entry.original = json.value("original", "");
  if (!entry.original.empty()) check_repository(entry.original);
  entry.quantization = json.at("quantization");
  entry.thinks = json.at("thinks");
  for (const std::string alias : json.value("aliases", Json::array())) entry.aliases.push_back(lower_case(alias));
  for (const auto& [key, value] : json.at("chat").items()) entry.chat[key] = value.get<double>();
  const Json& file = json.at("file");
  entry.file = file.at("name");
  check_relative_path(entry.file);
  if (file.contains("bytes")) entry.bytes = file.at("bytes").get<uint64_t>();
  entry.approximate_bytes = entry.bytes ? *entry.bytes : file.at("approximate_bytes").get<uint64_t>();
  entry.sha256 = file.value("sha256", "");
  if (!entry.sha256.empty()) check_sha256(entry.name, entry.sha256);
  entry.fallback = json.value("fallback", "");
  for (const Json& source : json.at("sources")) entry.sources.push_back(parse_source(entry.name, source));
  if (entry.sources.empty()) refuse(entry.name, "no sources");
  check_sizes(entry);
  return entry;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace

Catalogue Catalogue::parse(std::string_view text) {
  Catalogue catalogue;
  try {
    const Json json = Json::parse(text);
    catalogue.default_name_ = json.at("default");
    for (const Json& entry : json.at("models")) catalogue.entries_.push_back(parse_entry(entry));
  } catch (const Json::exception& error) {
    const std::string last = catalogue.entries_.empty() ? "the first entry" : "after " + catalogue.entries_.back().name;
    refuse(last, error.what());
  }
  std::set<std::string> seen;
  for (const CatalogueEntry& entry : catalogue.entries_) {
    if (!seen.insert(entry.name).second) refuse(entry.name, "the name is taken");
    for (const std::string& alias : entry.aliases) {
      if (!seen.insert(alias).second) refuse(entry.name, "the alias " + alias + " is taken");
    }
    if (!entry.fallback.empty() && !catalogue.find(entry.fallback))
      refuse(entry.name, "unknown fallback " + entry.fallback);
  }
  if (!catalogue.find(catalogue.default_name_)) refuse("default", "unknown model " + catalogue.default_name_);
  return catalogue;
}

Catalogue Catalogue::built_in() { return parse(kBuiltIn); }

Catalogue Catalogue::from_environment() {
  const char* path = std::getenv("CARRONADE_CATALOGUE");
  return path && *path ? parse(read_file(path)) : built_in();
}

const CatalogueEntry* Catalogue::find_original(std::string_view repository) const {
  const std::string wanted = lower_case(repository);
  const auto found = std::ranges::find_if(
      entries_, [&](const CatalogueEntry& entry) { return !wanted.empty() && lower_case(entry.original) == wanted; });
  return found == entries_.end() ? nullptr : &*found;
}

const CatalogueEntry* Catalogue::find(std::string_view name) const {
  const std::string wanted = lower_case(name);
  for (const CatalogueEntry& entry : entries_) {
    if (entry.name == wanted || std::ranges::find(entry.aliases, wanted) != entry.aliases.end()) return &entry;
  }
  return nullptr;
}

std::string Catalogue::nearest(std::string_view name) const {
  const std::string wanted = lower_case(name).substr(0, 200);
  std::string best;
  // A part of the name ("smollm2", "coder") counts as near; otherwise a third of the letters may be wrong.
  size_t best_distance = wanted.size() / 3 + 1;
  for (const CatalogueEntry& entry : entries_) {
    const bool part = wanted.size() >= 4 && entry.name.find(wanted) != std::string::npos;
    const size_t distance = part ? 0 : edit_distance(wanted, entry.name);
    if (distance < best_distance) {
      best_distance = distance;
      best = entry.name;
    }
  }
  return best;
}

const CatalogueEntry& Catalogue::default_entry() const { return *find(default_name_); }

}  // namespace carronade
