#include "server/cors.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace carronade {

namespace {

// What a page may read of a reply besides its body.
constexpr const char* kExposed =
    "X-Request-Id, Retry-After, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
    "x-ratelimit-reset-requests, "
    "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens";

bool lets_everyone_in(const CorsRules& rules) { return std::ranges::find(rules.origins, "*") != rules.origins.end(); }

bool lets_in(const CorsRules& rules, std::string_view origin) {
  return !origin.empty() &&
         (lets_everyone_in(rules) || std::ranges::find(rules.origins, origin) != rules.origins.end());
}

// Names as a browser lists them: letters, digits, "-", commas and spaces. Anything else would go into our own headers.
bool is_header_list(std::string_view text) {
  return !text.empty() && text.size() <= 1000 && std::ranges::all_of(text, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == ',' || c == ' ';
  });
}

// The page came from the host that it now asks. The scheme is not compared: what stands between may speak TLS for us.
bool is_same_host(std::string_view origin, std::string_view host) {
  std::string_view own_port;
  if (origin.starts_with("http://")) own_port = ":80";
  if (origin.starts_with("https://")) own_port = ":443";
  if (own_port.empty()) return false;
  origin.remove_prefix(origin.find("://") + 3);
  if (host.ends_with(own_port)) host.remove_suffix(own_port.size());
  return std::ranges::equal(origin, host,
                            [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
}

}  // namespace

bool is_of_foreign_page(const HttpRequest& request, const CorsRules& rules) {
  const auto origins = std::ranges::count(request.headers, "origin", [](const auto& header) { return header.first; });
  if (origins == 0) return false;
  const std::string_view origin = request.header("origin");
  return origins > 1 || !(is_same_host(origin, request.header("host")) || lets_in(rules, origin));
}

void check_origin(const std::string& origin) {
  if (origin == "*" || origin == "null") return;
  const size_t scheme = origin.find("://");
  const std::string host = scheme == origin.npos ? "" : origin.substr(scheme + 3);
  const bool plain = std::ranges::none_of(origin, [](char c) {
    return static_cast<unsigned char>(c) <= ' ' || (std::isupper(static_cast<unsigned char>(c)) != 0) || c == ',';
  });
  if (!plain || scheme == 0 || host.empty() || host.find_first_of("/?#@*") != host.npos) {
    throw Error(ErrorCode::kInvalidArgument,
                "an origin is a scheme and a host in small letters, with no path, such as https://app.example or "
                "http://localhost:3000; not \"" +
                    origin + "\"",
                "--allowed-origins");
  }
}

HttpHeaders cors_headers(const HttpRequest& request, const CorsRules& rules) {
  if (rules.origins.empty()) return {};
  HttpHeaders headers;
  const bool everyone = lets_everyone_in(rules) && !rules.credentials;
  if (!everyone) headers.emplace_back("Vary", "Origin");  // for caches: another page would be told otherwise
  const std::string_view origin = request.header("origin");
  if (!lets_in(rules, origin)) return headers;
  headers.emplace_back("Access-Control-Allow-Origin", everyone ? "*" : std::string(origin));
  if (rules.credentials && !lets_everyone_in(rules)) headers.emplace_back("Access-Control-Allow-Credentials", "true");
  headers.emplace_back("Access-Control-Expose-Headers", kExposed);
  return headers;
}

HttpHeaders preflight_headers(const HttpRequest& request, const CorsRules& rules, const std::string& methods) {
  if (request.header("access-control-request-method").empty() || !lets_in(rules, request.header("origin"))) return {};
  HttpHeaders headers = {{"Access-Control-Allow-Methods", methods}, {"Access-Control-Max-Age", "600"}};
  const std::string_view wanted = request.header("access-control-request-headers");
  if (is_header_list(wanted)) headers.emplace_back("Access-Control-Allow-Headers", std::string(wanted));
  // Chrome asks before a page of the internet may reach an address of the home network.
  if (request.header("access-control-request-private-network") == "true") {
    headers.emplace_back("Access-Control-Allow-Private-Network", "true");
  }
  return headers;
}

}  // namespace carronade
