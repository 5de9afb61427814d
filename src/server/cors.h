// Which pages of other origins a browser may let in. Source: the Fetch standard, "CORS protocol".
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/http.h"

namespace carronade {

struct CorsRules {
  std::vector<std::string> origins{};  // "https://app.example" or "http://localhost:3000" each; "*": all; empty: none
  bool credentials = false;            // cookies may come along; never with "*"
};

// Throws Error{kInvalidArgument, …, "--allowed-origins"} for what is no origin.
void check_origin(const std::string& origin);

// The request comes from a page of another origin than the one it is sent to, and that origin is not let in. Who names
// no origin is no page.
bool is_of_foreign_page(const HttpRequest& request, const CorsRules& rules);

// For every reply: says that the page may read it, when it may. Empty for the others, which is how browsers are told
// no.
HttpHeaders cors_headers(const HttpRequest& request, const CorsRules& rules);

// The further headers of a reply to the browser's question whether it may send a request (OPTIONS); `methods` as the
// route's own, "GET, HEAD". Empty when that was not the question, or the answer is no.
HttpHeaders preflight_headers(const HttpRequest& request, const CorsRules& rules, const std::string& methods);

}  // namespace carronade
