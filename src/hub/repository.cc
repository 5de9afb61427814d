#include "hub/repository.h"

#include <nlohmann/json.hpp>

#include "hub/http.h"
#include "hub/names.h"

namespace carronade {
namespace {

using Json = nlohmann::json;

std::string revision_of(const Repository& repository) {
  if (!repository.revision.empty()) return repository.revision;
  return repository.hub == HubKind::kModelScope ? "master" : "main";
}

// A revision is one segment of the path: the hub wants "refs/pr/1" as "refs%2Fpr%2F1".
std::string encoded_revision(const Repository& repository) {
  std::string encoded = url_path(revision_of(repository));
  for (size_t at = 0; (at = encoded.find('/', at)) != std::string::npos;) encoded.replace(at, 1, "%2F");
  return encoded;
}

Json fetch_json(const Repository& repository, const std::string& path, const Timeouts& timeouts,
                const std::stop_token& stop) {
  HttpRequest request;
  request.url = repository.endpoint + path;
  request.token = repository.token;
  request.connect_timeout = timeouts.connect;
  request.total_timeout = timeouts.answer;
  request.stop = stop;
  const std::string text = http_get_text(request);
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_discarded()) return json;
  const size_t start = text.find_first_not_of(" \t\r\n");
  const bool page = start != std::string::npos && text[start] == '<';
  throw_error(ErrorCode::kUnavailable, "{} answers with {} where a list of files was expected; {}", repository.endpoint,
              page ? "a web page" : "something", page ? "does this network want a login first?" : "is it a model hub?");
}

std::string text_at(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

std::optional<uint64_t> count_at(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<uint64_t>();
}

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// {"type":"file","path":…,"size":…,"oid":<Git blob>,"lfs":{"oid":<sha256>,"size":…}} of /tree/, or a sibling of the
// model's own page:
// {"rfilename":…,"size":…,"blobId":…,"lfs":{"sha256":…}}
std::optional<RemoteFile> parse_hugging_face_file(const Repository& repository, const Json& json) {
  if (!json.is_object() || (json.contains("type") && text_at(json, "type") != "file")) return std::nullopt;
  std::string path = text_at(json, "path");
  if (path.empty()) path = text_at(json, "rfilename");
  try {
    check_relative_path(path);
  } catch (const Error&) {
    return std::nullopt;
  }
  RemoteFile file = remote_file(repository, path);
  file.bytes = count_at(json, "size");
  std::string blob = lower_case(text_at(json, "oid"));
  if (blob.empty()) blob = lower_case(text_at(json, "blobId"));
  if (const auto lfs = json.find("lfs"); lfs != json.end() && lfs->is_object()) {
    file.sha256 = lower_case(text_at(*lfs, lfs->contains("oid") ? "oid" : "sha256"));
    if (file.sha256.starts_with("sha256:")) file.sha256.erase(0, 7);
    if (!is_sha256(file.sha256)) file.sha256.clear();
    if (const auto bytes = count_at(*lfs, "size")) file.bytes = bytes;
  } else if (is_hex(blob, 40)) {
    file.git_blob_sha1 = blob;
  }
  return file;
}

std::vector<RemoteFile> list_hugging_face(const Repository& repository, const Timeouts& timeouts,
                                          const std::stop_token& stop) {
  const std::string model = "/api/models/" + repository.name;
  const std::string revision = encoded_revision(repository);
  Json list;
  try {
    list = fetch_json(repository, model + "/tree/" + revision + "?recursive=true", timeouts, stop);
  } catch (const HttpFailure& failure) {
    if (failure.status != 404) throw;  // some private servers offer only the model's own page
    list = fetch_json(repository, model + "/revision/" + revision + "?blobs=true", timeouts, stop);
  }
  if (list.is_object() && list.contains("siblings")) list = Json(list["siblings"]);
  if (!list.is_array())
    throw_error(ErrorCode::kUnavailable, "{} answers, but not like a model hub", repository.endpoint);
  std::vector<RemoteFile> files;
  for (const Json& entry : list) {
    if (auto file = parse_hugging_face_file(repository, entry)) files.push_back(std::move(*file));
  }
  return files;
}

// {"Code":200,"Data":{"Files":[{"Path":…,"Size":…,"Sha256":…,"Type":"blob"|"tree"}]}}
std::vector<RemoteFile> list_model_scope(const Repository& repository, const Timeouts& timeouts,
                                         const std::stop_token& stop) {
  const Json json = fetch_json(
      repository,
      "/api/v1/models/" + repository.name + "/repo/files?Revision=" + encoded_revision(repository) + "&Recursive=true",
      timeouts, stop);
  const Json::json_pointer place("/Data/Files");
  if (!json.is_object() || !json.contains(place) || !json.at(place).is_array()) {
    throw_error(ErrorCode::kUnavailable, "{} answers, but not like ModelScope", repository.endpoint);
  }
  std::vector<RemoteFile> files;
  for (const Json& entry : json.at(place)) {
    if (!entry.is_object() || text_at(entry, "Type") == "tree") continue;
    const std::string path = text_at(entry, "Path");
    try {
      check_relative_path(path);
    } catch (const Error&) {
      continue;
    }
    RemoteFile file = remote_file(repository, path);
    file.bytes = count_at(entry, "Size");
    file.sha256 = lower_case(text_at(entry, "Sha256"));
    if (!is_sha256(file.sha256)) file.sha256.clear();
    files.push_back(std::move(file));
  }
  return files;
}

}  // namespace

std::vector<RemoteFile> list_repository(const Repository& repository, const Timeouts& timeouts,
                                        const std::stop_token& stop) {
  return repository.hub == HubKind::kModelScope ? list_model_scope(repository, timeouts, stop)
                                                : list_hugging_face(repository, timeouts, stop);
}

RemoteFile remote_file(const Repository& repository, std::string_view path) {
  check_relative_path(path);
  RemoteFile file;
  file.path = path;
  file.token = repository.token;
  const std::string prefix = repository.hub == HubKind::kModelScope ? "/models/" : "/";
  file.url = repository.endpoint + prefix + repository.name + "/resolve/" + encoded_revision(repository) + "/" +
             url_path(path);
  return file;
}

}  // namespace carronade
