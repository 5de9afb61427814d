// What the server understands, written down from the tables that the codecs work by. No I/O, no threads.
#pragma once

#include <string>
#include <string_view>

namespace carronade {

// An OpenAPI 3.1 document of the API's listener.
std::string openapi_document(std::string_view version);

// docs/compatibility.md: every field of every endpoint, and what becomes of it.
std::string compatibility_document();

}  // namespace carronade
