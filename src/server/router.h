// The table of routes, and what every request is checked for before its handler runs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/cors.h"
#include "server/http.h"
#include "server/route_metrics.h"
#include "server/websocket.h"
#include "workspace/api_key.h"

namespace carronade {

class KeyRing;

struct Route {
  std::string method;  // GET also answers HEAD
  std::string path;    // exact, or a prefix that ends in "/*"
  HttpHandler handler;
  bool on_api = true;  // which listeners have it
  bool on_page = true;
  bool needs_key = true;
  KeyScope scope = KeyScope::kChat;                   // that the key must have
  bool takes_json = true;                             // a POST must say that its body is
  std::shared_ptr<const WebSocketRoute> websocket{};  // of a GET: what a request for one becomes
  std::shared_ptr<RouteMetrics> metrics = std::make_shared<RouteMetrics>();
};

struct AccessRules {
  std::shared_ptr<const KeyRing> keys;     // nullptr: none is asked for
  std::vector<std::string> allowed_hosts;  // Host names besides those of loopback; empty with check_host: only those
  CorsRules cors{};
  bool check_host = true;  // the listener is bound to loopback: a page elsewhere must not reach it by a name of its own
};

// What becomes of a request before its body is read.
struct Verdict {
  std::optional<HttpResponse> refusal;
  const Route* route = nullptr;  // to call, unless there is a refusal
  std::shared_ptr<ApiKey> key;   // whose it is
  HttpHeaders headers;           // for the reply, whatever it is
};

// Immutable once the server runs.
class Router {
 public:
  void add(Route route) { routes_.push_back(std::move(route)); }
  const std::vector<Route>& routes() const { return routes_; }
  RouteMetrics& unmatched() const { return *unmatched_; }  // of requests that no route takes

  // `request.body` need not be there yet. Counts the request against its key's limits.
  Verdict check(const HttpRequest& request, const AccessRules& rules) const;

 private:
  Verdict check_route(const HttpRequest& request, const AccessRules& rules) const;
  std::vector<const Route*> of_path(const HttpRequest& request) const;
  std::vector<Route> routes_;
  std::shared_ptr<RouteMetrics> unmatched_ = std::make_shared<RouteMetrics>();
};

// A Host header's value names this machine's loopback: localhost, *.localhost, 127.x.y.z or [::1], with or without a
// port.
bool is_loopback_host(std::string_view host);

// An error in the dialect of the API, with the headers its status asks for.
HttpResponse error_response(int status, std::string_view message, std::string_view param = {});

}  // namespace carronade
