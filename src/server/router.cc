#include "server/router.h"

#include <algorithm>
#include <cctype>

#include "api/openai.h"
#include "server/access.h"

namespace carronade {

namespace {

bool covers(const Route& route, const HttpRequest& request) {
  if (!(request.listener == ListenerKind::kApi ? route.on_api : route.on_page)) return false;
  if (!route.path.ends_with("/*")) return route.path == request.path;
  return request.path.starts_with(std::string_view(route.path).substr(0, route.path.size() - 1));
}

bool answers(const Route& route, std::string_view method) {
  return route.method == method || (method == "HEAD" && route.method == "GET");
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

bool is_json(std::string_view content_type) {
  std::string type = lower(content_type.substr(0, content_type.find(';')));
  std::erase(type, ' ');
  return type == "application/json" || (type.starts_with("application/") && type.ends_with("+json"));
}

}  // namespace

bool is_loopback_host(std::string_view host) {
  const std::string name = lower(without_port(host));
  if (name == "localhost" || name.ends_with(".localhost") || name == "[::1]") return true;
  // Digits and dots only: "127.evil.example" is a name.
  return name.starts_with("127.") && name.find_first_not_of("0123456789.") == std::string::npos;
}

HttpResponse error_response(int status, std::string_view message, std::string_view param) {
  HttpResponse response = json_response(status, openai_error_body(status, message, param));
  if (status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

std::vector<const Route*> Router::of_path(const HttpRequest& request) const {
  std::vector<const Route*> exact, by_prefix;
  for (const auto& route : routes_) {
    if (covers(route, request)) (route.path.ends_with("/*") ? by_prefix : exact).push_back(&route);
  }
  if (!exact.empty()) return exact;
  // Of prefixes the longest counts.
  size_t longest = 0;
  for (const Route* route : by_prefix) longest = std::max(longest, route->path.size());
  std::erase_if(by_prefix, [&](const Route* route) { return route->path.size() < longest; });
  return by_prefix;
}

Verdict Router::check(const HttpRequest& request, const AccessRules& rules) const {
  Verdict verdict = check_route(request, rules);
  for (auto& header : cors_headers(request, rules.cors)) verdict.headers.push_back(std::move(header));
  return verdict;
}

Verdict Router::check_route(const HttpRequest& request, const AccessRules& rules) const {
  Verdict verdict;
  const auto refuse = [&](HttpResponse response) {
    verdict.refusal = std::move(response);
    return verdict;
  };
  const std::string_view host = request.header("host");
  // Who sends none (HTTP/1.0 may) is no browser that was led here.
  const bool names_host =
      std::ranges::any_of(request.headers, [](const auto& header) { return header.first == "host"; });
  if (rules.check_host && names_host && !is_loopback_host(host) &&
      std::ranges::find(rules.allowed_hosts, lower(without_port(host))) == rules.allowed_hosts.end()) {
    return refuse(error_response(
        403,
        "this server listens on this machine only, and the Host header names another: use http://127.0.0.1 or "
        "http://localhost, or start it with --host"));
  }
  const auto candidates = of_path(request);
  if (candidates.empty())
    return refuse(error_response(404, "there is nothing at " + request.method + " " + request.path));

  std::string allowed = "OPTIONS";
  for (const Route* candidate : candidates) {
    allowed += ", " + candidate->method + (candidate->method == "GET" ? ", HEAD" : "");
    if (answers(*candidate, request.method)) verdict.route = candidate;
  }
  if (!verdict.route) {
    if (request.method == "OPTIONS") {
      HttpResponse response{204, preflight_headers(request, rules.cors, allowed), {}, {}};
      response.headers.emplace_back("Allow", allowed);
      return refuse(std::move(response));
    }
    HttpResponse refusal =
        error_response(405, request.path + " does not take " + request.method + "; it takes " + allowed);
    refusal.headers.emplace_back("Allow", allowed);
    return refuse(std::move(refusal));
  }
  // Browsers send cookies along and ask nobody before a page opens a WebSocket to another origin.
  if (verdict.route->websocket && is_of_foreign_page(request, rules.cors)) {
    return refuse(error_response(
        403, "pages of another origin may not open a WebSocket here, unless --allowed-origins names theirs"));
  }
  Access access = check_access(request, *verdict.route, rules.keys.get());
  verdict.key = std::move(access.key);
  verdict.headers = std::move(access.headers);
  verdict.refusal = std::move(access.refusal);
  // A page elsewhere can make a browser send a form, but not JSON without asking first; it is never allowed to.
  if (!verdict.refusal && request.method == "POST" && verdict.route->takes_json &&
      !is_json(request.header("content-type"))) {
    verdict.refusal = error_response(415, "the Content-Type must be application/json");
  }
  return verdict;
}

}  // namespace carronade
