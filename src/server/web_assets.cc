#include "server/web_assets.h"

#include <algorithm>
#include <string>
#include <utility>

#include "api/openapi.h"

namespace carronade {

namespace {

constexpr std::string_view kPolicy =
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "connect-src 'self'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'";

const WebAsset* find_asset(std::string_view path) {
  const auto assets = web_assets();
  const auto found = std::ranges::lower_bound(assets, path, {}, &WebAsset::path);
  return found != assets.end() && found->path == path ? &*found : nullptr;
}

// The page's own addresses ("/chat/42") are all index.html; a file that is not there is not.
const WebAsset* asset_for(std::string_view path) {
  if (const WebAsset* asset = find_asset(path)) return asset;
  const std::string_view last = path.substr(path.rfind('/') + 1);
  const bool is_file =
      last.find('.') != std::string_view::npos || path.starts_with("/assets/") || path.starts_with("/v1/");
  return is_file ? nullptr : find_asset("/index.html");
}

// "gzip" stands in the list, and not with a weight of nought (RFC 9110, 12.5.3).
bool accepts_gzip(std::string_view accept_encoding) {
  const size_t at = accept_encoding.find("gzip");
  if (at == std::string_view::npos) return false;
  std::string entry(accept_encoding.substr(at, accept_encoding.find(',', at) - at));
  std::erase(entry, ' ');
  const size_t weight = entry.find(";q=");
  return weight == std::string::npos || entry.find_first_of("123456789", weight) != std::string::npos;
}

void serve_asset(const HttpRequest& request, const WebAsset* asset, Exchange& exchange) {
  if (!asset) return exchange.respond(error_response(404, "there is nothing at " + request.path.substr(0, 200)));
  HttpResponse response;
  // Vite puts a hash of the content into the names below /assets/, so those never change.
  const bool immutable = asset->path.starts_with("/assets/");
  response.headers = {{"ETag", std::string(asset->etag)},
                      {"Cache-Control", immutable ? "public, max-age=31536000, immutable" : "no-cache"},
                      {"Vary", "Accept-Encoding"}};
  if (request.header("if-none-match").find(asset->etag) != std::string_view::npos) {
    response.status = 304;
    return exchange.respond(std::move(response));
  }
  response.headers.emplace_back("Content-Type", asset->content_type);
  response.headers.emplace_back("Content-Security-Policy", kPolicy);
  response.headers.emplace_back("Cross-Origin-Opener-Policy", "same-origin");
  const bool gzip = !asset->gzip.empty() && accepts_gzip(request.header("accept-encoding"));
  if (gzip) response.headers.emplace_back("Content-Encoding", "gzip");
  response.static_body = gzip ? asset->gzip : asset->bytes;
  exchange.respond(std::move(response));
}

}  // namespace

void add_web_routes(Router& router) {
  router.add({.method = "GET",
              .path = "/*",
              .handler =
                  [](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
                    serve_asset(request, asset_for(request.path), *exchange);
                  },
              .on_api = false,
              .needs_key = false});
}

void add_docs_routes(Router& router, const std::string& version) {
  router.add({.method = "GET",
              .path = "/openapi.json",
              .handler = [document = openapi_document(version)](const HttpRequest&,
                                                                const std::shared_ptr<Exchange>& exchange) {
                exchange->respond(json_response(200, document));
              }});
  router.add({.method = "GET",
              .path = "/docs",
              .handler =
                  [](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
                    serve_asset(request, find_asset("/docs.html"), *exchange);
                  },
              .needs_key = false});
  // What that page is made of; the page's own listener has it anyhow.
  for (const char* path : {"/assets/*", "/favicon.svg"}) {
    router.add({.method = "GET",
                .path = path,
                .handler =
                    [](const HttpRequest& request, const std::shared_ptr<Exchange>& exchange) {
                      serve_asset(request, find_asset(request.path), *exchange);
                    },
                .on_page = false,
                .needs_key = false});
  }
}

}  // namespace carronade
