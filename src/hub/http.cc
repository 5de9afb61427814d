#include "hub/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <exception>
#include <memory>

#include "hub/names.h"

namespace carronade {
namespace {

constexpr long kMaxRedirects = 10;
constexpr size_t kMaxHeaderBytes = 64 << 10;

struct FreeHandle {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Handle = std::unique_ptr<CURL, FreeHandle>;
using List = std::unique_ptr<curl_slist, FreeList>;

// What one transfer shares with libcurl's callbacks. C++ exceptions must not pass through C, so they wait in `thrown`.
struct Transfer {
  const HttpRequest& request;
  const OnResponse& on_response;
  const OnBytes& on_bytes;
  CURL* handle;
  HttpResponse response;
  size_t header_bytes = 0;
  bool announced = false;
  std::exception_ptr thrown;
};

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r' || text.back() == '\n'))
    text.remove_suffix(1);
  return text;
}

size_t receive_header(char* data, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string_view line(data, size * count);
  transfer.header_bytes += line.size();
  if (transfer.header_bytes > kMaxHeaderBytes) return 0;
  if (line.starts_with("HTTP/")) {  // the next response on the way
    transfer.response.headers.clear();
    return line.size();
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return line.size();
  const std::string name = lower_case(trim(line.substr(0, colon)));
  const std::string value(trim(line.substr(colon + 1)));
  transfer.response.headers[name] = value;
  // The first hub on the way is the one that was asked; who comes later may not overrule it.
  if (name.starts_with("x-")) transfer.response.linked_headers.emplace(name, value);
  return line.size();
}

void announce(Transfer& transfer) {
  if (transfer.announced) return;
  transfer.announced = true;
  curl_easy_getinfo(transfer.handle, CURLINFO_RESPONSE_CODE, &transfer.response.status);
  if (transfer.on_response) transfer.on_response(transfer.response);
}

size_t receive_body(char* data, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const size_t bytes = size * count;
  long status = 0;
  curl_easy_getinfo(transfer.handle, CURLINFO_RESPONSE_CODE, &status);
  if (status < 200 || status > 299) return 0;  // an error's body is of no use, and may be endless
  try {
    announce(transfer);
    transfer.on_bytes(std::as_bytes(std::span(data, bytes)));
  } catch (...) {
    transfer.thrown = std::current_exception();
    return 0;
  }
  return bytes;
}

int check_stop(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Transfer*>(user)->request.stop.stop_requested() ? 1 : 0;
}

std::chrono::seconds retry_after(const HttpResponse& response) {
  const std::string text = response.header("retry-after");
  int seconds = 0;
  std::from_chars(text.data(), text.data() + text.size(), seconds);
  return std::chrono::seconds(std::clamp(seconds, 0, 60));
}

[[noreturn]] void throw_status(const HttpRequest& request, const HttpResponse& response) {
  const std::string host = url_origin(request.url);
  const auto fail = [&](ErrorCode code, bool retry, const std::string& message) {
    throw HttpFailure(code, host + ": " + message, response.status, retry, retry_after(response));
  };
  const bool gated = lower_case(response.linked("x-error-code")).find("gated") != std::string::npos;
  switch (response.status) {
    case 401:
    case 403:
      if (gated) {
        fail(ErrorCode::kForbidden, false,
             "the model is gated: accept its terms on its page there, then set HF_TOKEN to an access token of your "
             "account");
      }
      if (request.token.empty()) {
        fail(ErrorCode::kUnauthorized, false,
             fmt::format("no access (HTTP {}): the repository does not exist or is private; check its name, or set "
                         "HF_TOKEN to an access "
                         "token that may read it",
                         response.status));
      }
      fail(ErrorCode::kForbidden, false,
           fmt::format(
               "the access token was refused (HTTP {}): check HF_TOKEN, and that its account may read this model",
               response.status));
      break;
    case 404:
    case 410:
      fail(ErrorCode::kNotFound, false, "there is no such model or file (HTTP 404); check the spelling");
      break;
    case 416:
      fail(ErrorCode::kIo, true, "the server has no such range (HTTP 416)");
      break;
    case 429:
      fail(ErrorCode::kRateLimited, true,
           "too many requests (HTTP 429); wait a few minutes, or set HF_TOKEN for a higher limit");
      break;
    default:
      break;
  }
  if (response.status >= 500) {
    fail(ErrorCode::kUnavailable, true,
         fmt::format("the server is in trouble (HTTP {}); try again later", response.status));
  }
  fail(ErrorCode::kUnavailable, response.status == 408, fmt::format("unexpected answer (HTTP {})", response.status));
  throw Error(ErrorCode::kInternal, "unreachable");
}

[[noreturn]] void throw_broken(const HttpRequest& request, CURLcode code, const char* detail) {
  const std::string host = url_origin(request.url);
  const std::string why = *detail ? detail : curl_easy_strerror(code);
  switch (code) {
    case CURLE_TOO_MANY_REDIRECTS:
      throw HttpFailure(ErrorCode::kUnavailable, fmt::format("{} redirects more than {} times", host, kMaxRedirects), 0,
                        false);
    case CURLE_URL_MALFORMAT:
      throw HttpFailure(ErrorCode::kInvalidArgument, fmt::format("'{}' is not a valid address", host), 0, false);
    case CURLE_UNSUPPORTED_PROTOCOL:
      throw HttpFailure(ErrorCode::kUnavailable,
                        fmt::format("{} leads to an address that is not followed ({})", host, why), 0, false);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
      throw HttpFailure(
          ErrorCode::kUnavailable,
          fmt::format("{}: its certificate cannot be verified ({}); behind a company's proxy, set SSL_CERT_FILE", host,
                      why),
          0, false);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
      throw HttpFailure(ErrorCode::kUnavailable, fmt::format("{} cannot be reached ({})", host, why), 0, true);
    default:
      throw HttpFailure(ErrorCode::kUnavailable, fmt::format("{}: the transfer broke ({})", host, why), 0, true);
  }
}

void set_options(CURL* curl, const HttpRequest& request, Transfer& transfer, List& headers, char* error) {
  const bool secure = lower_case(request.url).starts_with("https://");
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "carronade");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, kMaxRedirects);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout.count()));
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(request.total_timeout.count()));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.stall_timeout.count()));
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, receive_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, check_stop);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  if (const char* bundle = std::getenv("SSL_CERT_FILE"); bundle && *bundle)
    curl_easy_setopt(curl, CURLOPT_CAINFO, bundle);
  const auto add = [&](const std::string& line) {
    curl_slist* longer = curl_slist_append(headers.get(), line.c_str());
    if (!longer) throw std::bad_alloc();
    static_cast<void>(headers.release());  // it begins the longer list
    headers.reset(longer);
  };
  // Weights do not compress, and a range of a compressed body would be another range.
  add("Accept-Encoding: identity");
  if (request.offset > 0) {
    add(fmt::format("Range: bytes={}-", request.offset));
    if (!request.if_range.empty()) add("If-Range: " + request.if_range);
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  if (!request.token.empty()) {  // libcurl drops it when a redirect leads to another host, port or scheme
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, request.token.c_str());
  }
}

}  // namespace

std::string HttpResponse::header(std::string_view name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

std::string HttpResponse::linked(std::string_view name) const {
  const auto found = linked_headers.find(name);
  return found == linked_headers.end() ? "" : found->second;
}

std::optional<uint64_t> HttpResponse::content_length() const {
  const std::string text = header("content-length");
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

HttpResponse http_get(const HttpRequest& request, const OnResponse& on_response, const OnBytes& on_bytes) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  const Handle handle(initialised == CURLE_OK ? curl_easy_init() : nullptr);
  if (!handle) throw Error(ErrorCode::kInternal, "libcurl cannot start");
  Transfer transfer{request, on_response, on_bytes, handle.get(), {}, 0, false, nullptr};
  List headers;
  char error[CURL_ERROR_SIZE] = "";
  set_options(handle.get(), request, transfer, headers, error);
  const CURLcode code = curl_easy_perform(handle.get());
  if (transfer.thrown) std::rethrow_exception(transfer.thrown);
  if (request.stop.stop_requested()) throw Error(ErrorCode::kCancelled, "stopped");
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &transfer.response.status);
  const long status = transfer.response.status;
  const bool answered = code == CURLE_OK || code == CURLE_WRITE_ERROR;
  if (answered && (status < 200 || status > 299)) throw_status(request, transfer.response);
  if (code != CURLE_OK) throw_broken(request, code, error);
  announce(transfer);  // an empty body
  return transfer.response;
}

std::string http_get_text(const HttpRequest& request, uint64_t max_bytes) {
  std::string text;
  http_get(request, nullptr, [&](std::span<const std::byte> bytes) {
    if (text.size() + bytes.size() > max_bytes) {
      throw_error(ErrorCode::kTooLarge, "{} answers with more than {} bytes where a list was expected",
                  url_origin(request.url), max_bytes);
    }
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  return text;
}

std::string why_unreachable(const std::string& url, std::chrono::milliseconds timeout) {
  struct Answered {};
  HttpRequest request;
  request.url = url;
  request.connect_timeout = request.total_timeout = timeout;
  try {
    http_get(
        request, [](const HttpResponse&) { throw Answered(); }, [](std::span<const std::byte>) {});
  } catch (const Answered&) {
  } catch (const HttpFailure& failure) {
    return failure.status > 0 ? "" : failure.what();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace carronade
