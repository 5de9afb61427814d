#include "server/access.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include <fmt/format.h>

namespace carronade {

namespace {

// The token of "Authorization: Bearer TOKEN".
std::string_view bearer_token(const HttpRequest& request) {
  constexpr std::string_view kScheme = "bearer ";
  const std::string_view value = request.header("authorization");
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  if (value.size() <= kScheme.size() ||
      !std::equal(kScheme.begin(), kScheme.end(), value.begin(), [&](char b, char a) { return same(a, b); })) {
    return {};
  }
  return value.substr(kScheme.size());
}

Access refused(int status, std::string_view message) { return {error_response(status, message), {}, nullptr}; }

}  // namespace

std::string_view presented_token(const HttpRequest& request, const Route& route) {
  if (!route.websocket || !request.header("authorization").empty()) return bearer_token(request);
  return subprotocol_key(request);
}

std::string reset_text(double seconds) {
  const auto milliseconds = static_cast<int64_t>(std::ceil(std::max(0.0, seconds) * 1000.0));
  if (milliseconds < 1000) return fmt::format("{}ms", milliseconds);
  const int64_t hours = milliseconds / 3'600'000, minutes = milliseconds / 60'000 % 60;
  const int64_t rest = milliseconds % 60'000;
  std::string text = hours > 0 ? fmt::format("{}h{}m", hours, minutes) : minutes > 0 ? fmt::format("{}m", minutes) : "";
  text += fmt::format("{}", rest / 1000);
  if (rest % 1000 != 0) {
    std::string part = fmt::format(".{:03}", rest % 1000);
    part.erase(part.find_last_not_of('0') + 1);
    text += part;
  }
  return text + "s";
}

HttpHeaders limit_headers(const Admission& admission) {
  HttpHeaders headers;
  const auto add = [&](const std::optional<LimitState>& limit, const std::string& name) {
    if (!limit) return;
    headers.emplace_back("x-ratelimit-limit-" + name, std::to_string(limit->limit));
    headers.emplace_back("x-ratelimit-remaining-" + name, std::to_string(limit->remaining));
    headers.emplace_back("x-ratelimit-reset-" + name, reset_text(limit->reset_seconds));
  };
  add(admission.requests, "requests");
  add(admission.tokens, "tokens");
  return headers;
}

std::optional<HttpResponse> limit_refusal(const Admission& admission, const ApiKey& key) {
  const auto seconds = static_cast<int64_t>(std::ceil(std::max(1.0, admission.retry_seconds)));
  std::string what;
  switch (admission.refusal) {
    case Admission::Refusal::kNone:
      return std::nullopt;
    case Admission::Refusal::kRequests:
      what = fmt::format("the {} requests that the API key {} may make in a minute", admission.limit, key.name());
      break;
    case Admission::Refusal::kTokens:
      what = fmt::format("the {} tokens that the API key {} may use in a minute", admission.limit, key.name());
      break;
    case Admission::Refusal::kQuota:
      what = fmt::format("the {} tokens that the API key {} may use in a day", admission.limit, key.name());
      break;
  }
  HttpResponse response =
      error_response(429, what + " are used up; try again in " + reset_text(static_cast<double>(seconds)));
  response.headers.emplace_back("Retry-After", std::to_string(seconds));
  // OpenAI's clients try again by themselves; until tomorrow that would be in vain.
  if (admission.refusal == Admission::Refusal::kQuota) response.headers.emplace_back("x-should-retry", "false");
  return response;
}

Access check_access(const HttpRequest& request, const Route& route, const KeyRing* keys) {
  if (!route.needs_key || !keys || keys->open()) return {};
  const std::string_view token = presented_token(request, route);
  if (token.empty()) return refused(401, "this server needs an API key: send it as \"Authorization: Bearer KEY\"");
  KeyRing::Found found = keys->find(token);
  if (!found.key) return refused(401, found.reason);
  if (!found.key->may(route.scope)) {
    return refused(403, fmt::format("the API key {} is not for this: {} needs the scope {}", found.key->name(),
                                    request.path, scope_text(route.scope)));
  }
  Access access;
  access.key = std::move(found.key);
  if (route.scope != KeyScope::kChat) return access;
  const bool counts = request.method == "POST" && route.takes_json;
  const Admission admission = counts ? access.key->admit() : access.key->state();
  access.headers = limit_headers(admission);
  access.refusal = limit_refusal(admission, *access.key);
  return access;
}

Tenant tenant_of(const HttpRequest& request) { return request.key ? request.key->tenant() : Tenant{}; }

}  // namespace carronade
