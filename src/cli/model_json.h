// What pull, list, show and doctor print of models as JSON.
#pragma once

#include <nlohmann/json.hpp>

#include "hub/hub.h"

namespace carronade {

using Json = nlohmann::ordered_json;

inline constexpr const char* kModelHelp =
    "A name of `carronade list`, org/repo[:file or quantization], an address, or a path";

Json to_json(const InstalledModel& model);
Json to_json(const CatalogueEntry& entry);

void print_json(const Json& json);

}  // namespace carronade
