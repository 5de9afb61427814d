#include "hub/names.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "hub/digest.h"

namespace carronade {
namespace {

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

}  // namespace

std::string lower_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string encode_name(std::string_view text) {
  constexpr size_t kMaxBytes = 160;  // most file systems allow 255, and suffixes follow
  std::string name;
  for (const char c : text) {
    if (c == '/') {
      name += "--";
    } else if (is_plain(c) || c == '@') {
      name += c;
    } else {
      name += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  if (name.empty() || name.front() == '.') name = "%2E" + name.substr(name.empty() ? 0 : 1);
  if (name.size() > kMaxBytes) name = name.substr(0, kMaxBytes - 17) + "-" + sha256_of(text).substr(0, 16);
  return name;
}

void check_repository(std::string_view repository) {
  const size_t slash = repository.find('/');
  const auto part_is_good = [](std::string_view part) {
    return !part.empty() && part.size() <= 96 && std::ranges::all_of(part, is_plain) && part.front() != '.' &&
           part.front() != '-' && part.find("..") == std::string_view::npos;
  };
  if (slash == std::string_view::npos || !part_is_good(repository.substr(0, slash)) ||
      !part_is_good(repository.substr(slash + 1))) {
    throw_error(ErrorCode::kInvalidArgument,
                "'{}' is not a repository; expected org/name of letters, digits, '.', '_' and '-'", repository);
  }
}

void check_relative_path(std::string_view path) {
  bool good = !path.empty() && path.size() <= 1000 && path.front() != '/' &&
              path.find('\\') == std::string_view::npos && std::ranges::none_of(path, is_control);
  for (size_t begin = 0; good && begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view segment = path.substr(begin, end - begin);
    good = !segment.empty() && segment != "." && segment != ".." && segment.size() <= 200;
    begin = end + 1;
  }
  if (!good)
    throw_error(ErrorCode::kInvalidArgument, "the file name '{}' is not one that can be stored safely",
                path.substr(0, 200));
}

std::string url_path(std::string_view path) {
  std::string result;
  for (const char c : path) {
    if (is_plain(c) || c == '/' || c == '~') {
      result += c;
    } else {
      result += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return result;
}

std::string url_origin(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return std::string(url.substr(0, 200));
  const size_t end = std::min(url.find_first_of("/?#", scheme + 3), url.size());
  const size_t at = url.substr(0, end).rfind('@');  // never show a password
  if (at != std::string_view::npos)
    return std::string(url.substr(0, scheme + 3)) + std::string(url.substr(at + 1, end - at - 1));
  return std::string(url.substr(0, end));
}

}  // namespace carronade
