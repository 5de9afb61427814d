// Keys at the door: what a request must carry for a route, what it is told when it may not, and whom its work is for.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "server/http.h"
#include "server/router.h"
#include "workspace/key_ring.h"

namespace carronade {

struct Access {
  std::optional<HttpResponse> refusal;
  HttpHeaders headers;          // for the reply, whatever becomes of it: OpenAI's x-ratelimit-*
  std::shared_ptr<ApiKey> key;  // nullptr: nobody has to say who they are
};

// The token that a request carries: "Authorization: Bearer TOKEN", or as a browser's WebSocket does. Empty when none.
std::string_view presented_token(const HttpRequest& request, const Route& route);

// 401 without a key, with an unknown one, with one that has ended; 403 when it lacks the route's scope; 429 when a
// limit is reached. Counts the request where it asks for work (a POST of JSON, scope chat). `keys` nullptr: everyone
// may.
Access check_access(const HttpRequest& request, const Route& route, const KeyRing* keys);

// 429 with Retry-After, or nothing when it was admitted.
std::optional<HttpResponse> limit_refusal(const Admission& admission, const ApiKey& key);
HttpHeaders limit_headers(const Admission& admission);

// As OpenAI writes them: "12ms", "1.5s", "6m0s", "1h0m0s".
std::string reset_text(double seconds);

// For the engine: each key is a tenant, everyone without one is the same.
Tenant tenant_of(const HttpRequest& request);

}  // namespace carronade
