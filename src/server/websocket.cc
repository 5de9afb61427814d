#include "server/websocket.h"

#include <algorithm>
#include <cctype>

#include "server/router.h"

namespace carronade {

namespace {

constexpr std::string_view kVersion = "13";

std::vector<std::string_view> list_of(std::string_view text) {
  std::vector<std::string_view> items;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string_view item = text.substr(0, comma);
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) item.remove_suffix(1);
    if (!item.empty()) items.push_back(item);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return items;
}

bool lists(const HttpRequest& request, std::string_view name, std::string_view word) {
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  for (const auto& [header, value] : request.headers) {
    if (header != name) continue;
    for (const std::string_view item : list_of(value)) {
      if (std::ranges::equal(item, word, same)) return true;
    }
  }
  return false;
}

// 16 bytes in base64.
bool is_handshake_key(std::string_view key) {
  return key.size() == 24 && key.ends_with("==") && std::ranges::all_of(key.substr(0, 22), [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) || c == '+' || c == '/';
         });
}

HttpResponse with_version(HttpResponse response) {
  response.headers.emplace_back("Upgrade", "websocket");
  response.headers.emplace_back("Connection", "Upgrade");
  response.headers.emplace_back("Sec-WebSocket-Version", kVersion);
  return response;
}

}  // namespace

bool is_websocket_request(const HttpRequest& request) {
  return request.method == "GET" && lists(request, "upgrade", "websocket");
}

std::optional<HttpResponse> websocket_refusal(const HttpRequest& request) {
  if (!lists(request, "connection", "upgrade")) {
    return error_response(400, "a request for a WebSocket needs the header \"Connection: Upgrade\"");
  }
  if (request.header("sec-websocket-version") != kVersion) {
    return with_version(error_response(426, "this server speaks version 13 of the WebSocket protocol"));
  }
  if (!is_handshake_key(request.header("sec-websocket-key"))) {
    return error_response(400, "Sec-WebSocket-Key must be 16 bytes in base64");
  }
  if (!request.body.empty()) return error_response(400, "a request for a WebSocket has no body");
  return std::nullopt;
}

HttpResponse upgrade_required(const HttpRequest& request) {
  return with_version(error_response(
      426, request.path + " speaks WebSocket (ws:// or wss://): this request did not ask for one. Answers over plain " +
               "HTTP are at POST /v1/chat/completions"));
}

std::vector<std::string_view> offered_subprotocols(const HttpRequest& request) {
  std::vector<std::string_view> offered;
  for (const auto& [name, value] : request.headers) {
    if (name != "sec-websocket-protocol") continue;
    const auto more = list_of(value);
    offered.insert(offered.end(), more.begin(), more.end());
  }
  return offered;
}

std::string_view subprotocol_key(const HttpRequest& request) {
  constexpr std::string_view kPrefix = "openai-insecure-api-key.";
  for (const std::string_view offered : offered_subprotocols(request)) {
    if (offered.starts_with(kPrefix)) return offered.substr(kPrefix.size());
  }
  return {};
}

}  // namespace carronade
