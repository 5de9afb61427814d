#include "hub/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/error.h"

namespace carronade {
namespace {

constexpr size_t kKeptOutput = 16 << 10;
constexpr int kTickMilliseconds = 250;
constexpr auto kPatience = std::chrono::seconds(3);  // between asking it to end and ending it

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& extra) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view line(*entry);
    if (!extra.contains(std::string(line.substr(0, line.find('='))))) result.emplace_back(line);
  }
  for (const auto& [name, value] : extra) result.push_back(name + "=" + value);
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  for (std::string& text : strings) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// In the child: only what is safe after fork() in a program with threads.
[[noreturn]] void become(char* const* arguments, char* const* environment, int output, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(127);
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  ::execvpe(arguments[0], arguments, environment);
  const char* message = std::strerror(errno);
  [[maybe_unused]] const ssize_t written = ::write(output, message, std::strlen(message));
  ::_exit(127);
}

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void end_process(pid_t child) {
  ::kill(child, SIGTERM);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    if (::waitpid(child, nullptr, WNOHANG) != 0) return;
    ::poll(nullptr, 0, 20);
  }
  ::kill(child, SIGKILL);
  wait_for(child);
}

}  // namespace

ProcessResult run_process(const std::vector<std::string>& arguments,
                          const std::map<std::string, std::string>& environment, const std::stop_token& stop,
                          const std::function<void()>& on_tick) {
  std::vector<std::string> argument_strings = arguments;
  std::vector<std::string> environment_strings = merged_environment(environment);
  const std::vector<char*> argument_pointers = pointers(argument_strings);
  const std::vector<char*> environment_pointers = pointers(environment_strings);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    throw_error(ErrorCode::kIo, "cannot start {}: {}", arguments[0], std::strerror(errno));
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) become(argument_pointers.data(), environment_pointers.data(), ends[1], parent);
  ::close(ends[1]);
  if (child < 0) {
    ::close(ends[0]);
    throw_error(ErrorCode::kIo, "cannot start {}: {}", arguments[0], std::strerror(errno));
  }
  ProcessResult result;
  try {
    for (;;) {
      pollfd waiting{ends[0], POLLIN, 0};
      ::poll(&waiting, 1, kTickMilliseconds);
      if (stop.stop_requested()) throw Error(ErrorCode::kCancelled, "stopped");
      on_tick();
      if (waiting.revents == 0) continue;
      char buffer[4096];
      const ssize_t count = ::read(ends[0], buffer, sizeof buffer);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) break;
      result.output.append(buffer, static_cast<size_t>(count));
      if (result.output.size() > 2 * kKeptOutput) result.output.erase(0, result.output.size() - kKeptOutput);
    }
  } catch (...) {
    ::close(ends[0]);
    end_process(child);
    throw;
  }
  ::close(ends[0]);
  result.status = wait_for(child);
  if (result.output.size() > kKeptOutput) result.output.erase(0, result.output.size() - kKeptOutput);
  return result;
}

}  // namespace carronade
