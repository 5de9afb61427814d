// Errors that a user, a file or a network can cause. Our own bugs are asserts.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace carronade {

enum class ErrorCode {
  kInvalidArgument,  // the caller asked for something that cannot be: HTTP 400
  kUnauthorized,     // 401
  kForbidden,        // 403
  kNotFound,         // 404
  kTooLarge,         // more than a limit allows: 413, or 400 where a dialect says so
  kRateLimited,      // 429
  kCorruptFile,      // a file's content is not what its format allows
  kUnsupported,      // well-formed, but not something this program does: 400
  kIo,               // the operating system or the network refused
  kUnavailable,      // not now: loading, full, shutting down: 503
  kCancelled,        // the one who asked has gone
  kInternal,         // our own fault, found late: 500
};

// Says what was wrong and what would be right. `param` names the offending field, flag or file, if there is one.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, std::string param = {})
      : std::runtime_error(message), code(code), param(std::move(param)) {}

  ErrorCode code;
  std::string param;
};

// throw_error(ErrorCode::kNotFound, "no model named {}", name)
template <typename... Args>
[[noreturn]] void throw_error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace carronade
