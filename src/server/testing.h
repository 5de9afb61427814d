// What the tests of this room share: a client of bytes.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "chat/testing.h"
#include "server/serving_state.h"

namespace carronade {

// As the program does, before there are threads. Once for all suites.
inline void set_up_test_logging() {
  static const bool done = [] {
    set_up_logging("warn");
    return true;
  }();
  static_cast<void>(done);
}

// One model, loaded.
inline void serve_test_model(ServingState& state, const std::shared_ptr<TokenGenerator>& generator) {
  std::vector<PoolModel> models(1);
  models[0].name = "tiny";
  models[0].load = [generator](uint64_t, const std::stop_token&) {
    return std::make_unique<PooledChatModel>(make_test_model(generator));
  };
  auto pool = std::make_shared<ModelPool>(std::move(models), PoolLimits{});
  pool->hold_or_wait({});
  state.ready(std::move(pool), {{"tiny", "/x", 1, 1000}});
}

// A socket that is connected to this port of loopback; the caller closes it.
inline int connect_to(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd);
    throw std::runtime_error("cannot connect");
  }
  return fd;
}

// A client that sends exactly the bytes it is told.
class Client {
 public:
  explicit Client(uint16_t port) : fd_(connect_to(port)) {}
  ~Client() { close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  Client& send(std::string_view bytes) {
    send_all(bytes);  // or refused on the way; the answer tells
    return *this;
  }
  // False when the connection ended before all was sent.
  bool send_all(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t size = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (size <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(size));
    }
    return true;
  }
  // Reads until `part` has come; false when the connection ended before (or ten seconds have passed).
  bool read_until(std::string_view part) {
    while (received_.find(part) == std::string::npos) {
      if (!read_some()) return false;
    }
    return true;
  }
  std::string read_to_end() {
    while (read_some()) {
    }
    return received_;
  }
  // One whole answer with a Content-Length; what follows it stays.
  std::string read_answer(bool head_only = false) {
    if (!read_until("\r\n\r\n")) return received_;
    const size_t head = received_.find("\r\n\r\n") + 4;
    const size_t length_at = received_.find("Content-Length: ");
    size_t size = head;
    if (!head_only && length_at < head) size += static_cast<size_t>(std::stoul(received_.substr(length_at + 16)));
    while (received_.size() < size && read_some()) {
    }
    std::string answer = received_.substr(0, size);
    received_.erase(0, size);
    return answer;
  }
  const std::string& received() const { return received_; }
  // Exactly so many bytes, or fewer when the connection ended before.
  std::string take(size_t size) {
    while (received_.size() < size && read_some()) {
    }
    std::string taken = received_.substr(0, size);
    received_.erase(0, size);
    return taken;
  }

 private:
  bool read_some() {
    pollfd poll{fd_, POLLIN, 0};
    if (::poll(&poll, 1, 10'000) <= 0) {
      ADD_FAILURE() << "nothing came";
      return false;
    }
    char bytes[4096];
    const ssize_t size = ::recv(fd_, bytes, sizeof bytes, 0);
    if (size <= 0) return false;
    received_.append(bytes, static_cast<size_t>(size));
    return true;
  }
  int fd_;
  std::string received_;
};

inline std::string get(std::string_view path, std::string_view headers = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n" + std::string(headers) + "\r\n";
}

inline std::string post(std::string_view body, std::string_view headers = "Content-Type: application/json\r\n") {
  return "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + std::string(headers) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

inline constexpr std::string_view kChat = R"({"messages":[{"role":"user","content":"Hi"}]})";
inline constexpr std::string_view kStream = R"({"messages":[{"role":"user","content":"Hi"}],"stream":true})";

inline int status_of(const std::string& answer) { return answer.size() < 12 ? 0 : std::stoi(answer.substr(9, 3)); }
inline nlohmann::ordered_json body_of(const std::string& answer) {
  return nlohmann::ordered_json::parse(answer.substr(answer.find("\r\n\r\n") + 4));
}

// The value of a header in an answer; "" when it is not there.
inline std::string header_of(const std::string& answer, std::string_view name) {
  const size_t at = answer.find("\r\n" + std::string(name) + ": ");
  if (at == std::string::npos || at > answer.find("\r\n\r\n")) return {};
  const size_t begin = at + 4 + name.size();
  return answer.substr(begin, answer.find("\r\n", begin) - begin);
}

}  // namespace carronade
