#include "base/service_manager.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>

#include "base/testing.h"

namespace carronade {
namespace {

// What systemd's end of the socket receives; `name` begins with "/" or "@".
std::string told(const std::string& name, std::string_view state) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, sizeof address.sun_path - 1);
  if (name[0] == '@') address.sun_path[0] = '\0';
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), length), 0);
  ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  EXPECT_TRUE(notify_service_manager(state));
  ::unsetenv("NOTIFY_SOCKET");
  char bytes[100];
  const ssize_t size = ::recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
  ::close(fd);
  return size < 0 ? std::string() : std::string(bytes, static_cast<size_t>(size));
}

TEST(ServiceManager, IsTold) {
  const TemporaryDirectory folder;
  EXPECT_EQ(told((folder.path() / "notify").string(), "READY=1"), "READY=1");
  EXPECT_EQ(told("@carronade-test-" + std::to_string(::getpid()), "STATUS=a b"), "STATUS=a b");
}

TEST(ServiceManager, NobodyThereIsNoError) {
  ::unsetenv("NOTIFY_SOCKET");
  EXPECT_FALSE(notify_service_manager("READY=1"));
  for (const std::string& name : {std::string(), std::string("relative"), std::string("@"), "/" + std::string(200, 'x'),
                                  std::string("/no/such/socket")}) {
    ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
    EXPECT_FALSE(notify_service_manager("READY=1")) << name;
  }
  ::unsetenv("NOTIFY_SOCKET");
}

}  // namespace
}  // namespace carronade
