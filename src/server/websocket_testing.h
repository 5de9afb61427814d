// A WebSocket client of frames, for tests of this room.
#pragma once

#include <string>
#include <string_view>

#include "server/testing.h"

namespace carronade {

class WebSocketClient {
 public:
  static constexpr int kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10;

  // Sends the request and reads its reply. `headers`: further ones.
  explicit WebSocketClient(uint16_t port, std::string_view headers = "", std::string_view path = "/v1/stream")
      : client_(port) {
    client_.send("GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n" + std::string(kUpgrade) +
                 std::string(headers) + "\r\n");
    client_.read_until("\r\n\r\n");
    const size_t end = client_.received().find("\r\n\r\n");
    head_ = client_.take(end == std::string::npos ? client_.received().size() : end + 4);
  }

  static constexpr std::string_view kUpgrade =
      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

  const std::string& head() const { return head_; }
  int status() const { return status_of(head_); }

  // A whole frame, at most 65,535 bytes. The mask is nought, which changes no byte.
  void send_frame(int opcode, std::string_view payload) {
    std::string frame(1, static_cast<char>(0x80 | opcode));
    if (payload.size() < 126) {
      frame += static_cast<char>(0x80 | payload.size());
    } else {
      frame += static_cast<char>(0x80 | 126);
      frame += static_cast<char>(payload.size() >> 8);
      frame += static_cast<char>(payload.size() & 0xff);
    }
    client_.send(frame.append(4, '\0').append(payload));
  }
  void send(std::string_view text) { send_frame(kText, text); }

  struct Frame {
    int opcode = -1;  // -1: the connection ended
    std::string payload;
  };
  Frame read_frame() {
    const std::string head = client_.take(2);
    if (head.size() < 2) return {};
    size_t size = static_cast<unsigned char>(head[1]);
    if (size >= 126) {
      const std::string bytes = client_.take(size == 126 ? 2 : 8);
      size = 0;
      for (const char byte : bytes) size = size << 8 | static_cast<unsigned char>(byte);
    }
    return {head[0] & 0x0f, client_.take(size)};
  }
  // The next message, pings apart.
  nlohmann::ordered_json read() {
    for (;;) {
      const Frame frame = read_frame();
      if (frame.opcode == kText) return nlohmann::ordered_json::parse(frame.payload);
      if (frame.opcode == kPing) {
        send_frame(kPong, frame.payload);
      } else {
        ADD_FAILURE() << "no message, but a frame of opcode " << frame.opcode;
        return {};
      }
    }
  }
  // The next message of this type; those before it are left out.
  nlohmann::ordered_json read_until(std::string_view type) {
    nlohmann::ordered_json message = read();
    while (!message.is_null() && message["type"] != type) message = read();
    return message;
  }
  // The code of the close frame that comes next, which is answered; 0 when another or none does.
  int read_close() {
    const Frame frame = read_frame();
    if (frame.opcode != kClose || frame.payload.size() < 2) return 0;
    send_frame(kClose, std::string_view(frame.payload).substr(0, 2));
    return static_cast<unsigned char>(frame.payload[0]) << 8 | static_cast<unsigned char>(frame.payload[1]);
  }
  std::string read_to_end() { return client_.read_to_end(); }
  void leave() { client_.close(); }

 private:
  Client client_;
  std::string head_;
};

}  // namespace carronade
