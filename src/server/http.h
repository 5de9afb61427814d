// HTTP as the rest of this room sees it, free of sockets.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace carronade {

class ApiKey;

enum class ListenerKind : uint8_t { kApi = 1, kPage = 2 };

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;   // in capitals
  std::string path;     // percent-decoded, begins with "/"
  std::string query;    // behind the "?", as sent
  HttpHeaders headers;  // names in lower case
  std::string body;
  ListenerKind listener = ListenerKind::kApi;
  std::string id;               // made by the server, also in the reply's X-Request-Id
  std::shared_ptr<ApiKey> key;  // whose it is; nullptr: nobody has to say

  std::string_view header(std::string_view lower_case_name) const {
    for (const auto& [name, value] : headers) {
      if (name == lower_case_name) return value;
    }
    return {};
  }
};

struct HttpResponse {
  int status = 200;
  HttpHeaders headers;
  std::string body;
  std::string_view static_body;  // instead of `body`: bytes that live as long as the program
};

inline HttpResponse json_response(int status, std::string body) {
  return {status, {{"Content-Type", "application/json"}}, std::move(body), {}};
}

enum class AbortReason {
  kDisconnected,  // nobody reads the answer any more
  kShutdown,      // the server is ending: finish now, properly
  kCancelled,     // the client asks for no more of it: the same
};

// One request being answered. It belongs to the strand of its connection: a handler is called there, and everything but
// post() may be called only there. After finish() or respond(), and after kDisconnected, calls do nothing.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual void respond(HttpResponse response) = 0;

  // A body of unknown length, sent as it comes: one start_stream, writes, one finish.
  virtual void start_stream(HttpResponse head) = 0;
  virtual void write(std::string bytes) = 0;
  virtual void finish() = 0;

  // At most once each for a disconnect and for another reason, and at once if that has happened already. Dropped when
  // the answer is complete.
  virtual void on_abort(std::function<void(AbortReason)> callback) = 0;

  // The client wants a thought to end and the answer to follow; at once if that was said already. Dropped as above.
  virtual void on_answer_now(std::function<void()> callback) = 0;

  // Runs `work` on the strand. Any thread; never runs it at once. Work posted from one thread keeps its order.
  virtual void post(std::function<void()> work) = 0;

  // Runs `work`, which takes long and must not throw, on a thread that no connection waits for, and what it returns on
  // the strand.
  virtual void compute(std::function<std::function<void()>()> work) = 0;
};

// May throw Error, which becomes the reply.
using HttpHandler = std::function<void(const HttpRequest&, const std::shared_ptr<Exchange>&)>;

std::string_view status_text(int status);

// Now, as HTTP writes it.
std::string http_date();

// 16 random hexadecimal digits.
std::string make_request_id();

// "%2F" → "/". A malformed escape stays as it is.
std::string percent_decode(std::string_view text);

}  // namespace carronade
