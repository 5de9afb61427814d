// HTTP for fetching models, over libcurl: proxies, TLS and redirects are its. Every call is one transfer; any thread
// may call.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/error.h"

namespace carronade {

struct HttpRequest {
  std::string url;
  std::string token;     // bearer; never sent to another host, port or scheme than the url's
  uint64_t offset = 0;   // > 0: ask for the bytes from here on
  std::string if_range;  // ETag that must still hold for `offset` to be honoured
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds total_timeout{0};  // 0: none
  std::chrono::seconds stall_timeout{30};      // no byte for this long breaks the transfer
  std::stop_token stop;
};

struct HttpResponse {
  long status = 0;
  std::map<std::string, std::string, std::less<>> headers;         // of the last response, lower-case names
  std::map<std::string, std::string, std::less<>> linked_headers;  // the hub's x-… headers of any response on the way
  std::string header(std::string_view name) const;                 // empty when absent
  std::string linked(std::string_view name) const;
  std::optional<uint64_t> content_length() const;
};

// A transfer that failed. `retry`: the same request may work later.
class HttpFailure : public Error {
 public:
  HttpFailure(ErrorCode code, const std::string& message, long status, bool retry,
              std::chrono::seconds retry_after = {})
      : Error(code, message), status(status), retry(retry), retry_after(retry_after) {}
  long status;  // 0 when no answer came
  bool retry;
  std::chrono::seconds retry_after;
};

// Called once, before the first byte of a 2xx answer, and then for each piece of its body. What they throw ends the
// transfer and comes out.
using OnResponse = std::function<void(const HttpResponse&)>;
using OnBytes = std::function<void(std::span<const std::byte>)>;

// Follows at most 10 redirects, to http(s) only and never from https to http. Throws HttpFailure for no answer, a
// broken transfer or a status other than 2xx (then its message says what to do), Error{kCancelled} when stopped.
HttpResponse http_get(const HttpRequest& request, const OnResponse& on_response, const OnBytes& on_bytes);

// The whole body as text. Throws as http_get, and Error{kTooLarge}.
std::string http_get_text(const HttpRequest& request, uint64_t max_bytes = 32ull << 20);

// Whether a server answers there, whatever it says; nothing of the answer is read. Empty: it does, else why not.
std::string why_unreachable(const std::string& url, std::chrono::milliseconds timeout);

}  // namespace carronade
