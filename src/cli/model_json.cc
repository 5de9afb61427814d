#include "cli/model_json.h"

#include <fmt/format.h>

namespace carronade {

Json to_json(const InstalledModel& model) {
  Json files = Json::array();
  for (const InstalledFile& file : model.files)
    files.push_back({{"path", file.path}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  return {{"name", model.name},
          {"path", model.path().string()},
          {"bytes", model.bytes()},
          {"source", model.source},
          {"repository", model.repository},
          {"revision", model.revision},
          {"date", model.date},
          {"files", files}};
}

Json to_json(const CatalogueEntry& entry) {
  Json json = {{"name", entry.name},
               {"description", entry.description},
               {"licence", entry.licence},
               {"original", entry.original},
               {"parameters", entry.parameters},
               {"context_length", entry.context_length},
               {"quantization", entry.quantization},
               {"thinks", entry.thinks},
               {"bytes", entry.approximate_bytes},
               {"chat", entry.chat},
               {"aliases", entry.aliases}};
  if (!entry.sha256.empty()) json["sha256"] = entry.sha256;
  return json;
}

void print_json(const Json& json) { fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace)); }

}  // namespace carronade
