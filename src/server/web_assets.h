// The page: files that were built into the program, and the routes that serve them.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "server/router.h"

namespace carronade {

struct WebAsset {
  std::string_view path;  // "/index.html"
  std::string_view content_type;
  std::string_view etag;  // quoted, of the content
  std::string_view bytes;
  std::string_view gzip;  // the same compressed; empty where that saves nothing
};

// Sorted by path. Made by scripts/embed_assets.py; without the page, one that says how to build it.
std::span<const WebAsset> web_assets();

// GET of everything that no other route has, on the page's listener. No key: these are the program's own files, equal
// for everyone.
void add_web_routes(Router& router);

// /openapi.json behind the key, and /docs, the page that shows it and tries its calls, on both listeners.
void add_docs_routes(Router& router, const std::string& version);

}  // namespace carronade
