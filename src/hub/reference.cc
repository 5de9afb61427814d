#include "hub/reference.h"

#include <array>
#include <cstdlib>

#include <fmt/format.h>

#include "base/error.h"
#include "hub/digest.h"
#include "hub/names.h"

namespace carronade {
namespace {

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (lower_case(text.substr(0, prefix.size())) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool is_url(std::string_view text) { return take_prefix(text, "https://") || take_prefix(text, "http://"); }

// Takes "https://huggingface.co/", "hf.co/", "modelscope.cn/models/" … off; false when it is none of the hubs.
bool take_hub_host(std::string_view& text, HubKind& hub) {
  std::string_view rest = text;
  if (!take_prefix(rest, "https://")) take_prefix(rest, "http://");
  take_prefix(rest, "www.");
  for (const std::string_view host : {"huggingface.co/", "hf.co/", "hf-mirror.com/"}) {
    if (take_prefix(rest, host)) {
      hub = HubKind::kHuggingFace;
      text = rest;
      return true;
    }
  }
  if (!take_prefix(rest, "modelscope.cn/")) return false;
  take_prefix(rest, "models/");
  hub = HubKind::kModelScope;
  text = rest;
  return true;
}

std::string canonical_hub_name(const ModelReference& reference) {
  std::string name = reference.hub == HubKind::kModelScope ? "modelscope.cn/" : "";
  name += reference.repository;
  if (!reference.revision.empty()) name += "@" + reference.revision;
  if (!reference.selector.empty()) name += ":" + reference.selector;
  return name;
}

void set_revision(ModelReference& reference, std::string_view revision) {
  reference.revision = revision;
  if (reference.revision == "main" || (reference.hub == HubKind::kModelScope && reference.revision == "master"))
    reference.revision.clear();
  if (!reference.revision.empty()) check_relative_path(reference.revision);
  reference.name = canonical_hub_name(reference);
}

// org/repo[@revision][:selector], or a page's org/repo/(blob|resolve|tree)/revision[/file].
ModelReference parse_hub(std::string_view text, HubKind hub) {
  ModelReference reference;
  reference.kind = ModelReference::Kind::kHub;
  reference.hub = hub;
  text = text.substr(0, text.find_first_of("?#"));
  const size_t slash = text.find('/');
  const size_t end = slash == std::string_view::npos ? text.size() : text.find_first_of("/:@", slash + 1);
  reference.repository = text.substr(0, end);
  check_repository(reference.repository);
  std::string_view rest = end == std::string_view::npos ? "" : text.substr(end);
  for (const std::string_view page : {"/blob/", "/resolve/", "/tree/"}) {
    if (!take_prefix(rest, page)) continue;
    const size_t file = std::min(rest.find('/'), rest.size());
    reference.revision = rest.substr(0, file);
    rest = file < rest.size() ? rest.substr(file + 1) : "";
    reference.selector = rest;
    rest = "";
  }
  if (take_prefix(rest, "@")) {
    const size_t colon = std::min(rest.find(':'), rest.size());
    reference.revision = rest.substr(0, colon);
    rest.remove_prefix(colon);
    if (reference.revision.empty())
      throw Error(ErrorCode::kInvalidArgument, "nothing follows '@'; expected org/repo@revision");
  }
  if (take_prefix(rest, ":")) {
    reference.selector = rest;
    rest = "";
    if (reference.selector.empty())
      throw Error(ErrorCode::kInvalidArgument, "nothing follows ':'; expected org/repo:file-or-quantization");
  }
  if (!rest.empty() && rest != "/") {
    throw_error(ErrorCode::kInvalidArgument, "'{}' is not a model; a file of a repository is written {}:{}", text,
                reference.repository, rest.substr(1));
  }
  if (!reference.selector.empty()) check_relative_path(reference.selector);
  set_revision(reference, std::string(reference.revision));
  return reference;
}

ModelReference parse_url(std::string_view text) {
  if (text.find_first_of(" \t\r\n") != std::string_view::npos || text.size() > 4096) {
    throw Error(ErrorCode::kInvalidArgument, "the address has a space in it or is too long");
  }
  ModelReference reference;
  reference.kind = ModelReference::Kind::kUrl;
  reference.url = text;
  // The query may hold a signature: it is no part of the name, but it tells two files apart.
  std::string_view file = text.substr(0, text.find_first_of("?#"));
  const size_t host = file.find("://") + 3;
  const size_t slash = file.rfind('/');
  file = slash < host ? std::string_view() : file.substr(slash + 1);
  reference.name = fmt::format("{}@{}", file.empty() ? "model" : file, sha256_of(text).substr(0, 8));
  return reference;
}

ModelReference path_reference(std::filesystem::path path) {
  ModelReference reference;
  reference.kind = ModelReference::Kind::kPath;
  reference.path = std::move(path);
  reference.name = reference.path.filename().empty() ? reference.path.parent_path().filename().string()
                                                     : reference.path.filename().string();
  return reference;
}

// Hubs take a repository's name in any case; here the same model has one folder.
ModelReference known_to(const Catalogue& catalogue, ModelReference reference) {
  reference.quantized = catalogue.find_original(reference.repository);
  if (reference.quantized) {
    reference.repository = reference.quantized->original;
    reference.name = canonical_hub_name(reference);
  }
  return reference;
}

bool looks_like_a_path(std::string_view text) {
  return text.starts_with("/") || text.starts_with("./") || text.starts_with("../") || text.starts_with("~") ||
         text == "." || text == "..";
}

}  // namespace

ModelReference parse_reference(std::string_view text, const Catalogue& catalogue) {
  if (text.empty())
    throw Error(ErrorCode::kInvalidArgument, "no model was named; `carronade list` shows the names", "model");
  if (const CatalogueEntry* entry = catalogue.find(text)) {
    ModelReference reference;
    reference.kind = ModelReference::Kind::kCatalogue;
    reference.name = entry->name;
    reference.entry = entry;
    return reference;
  }
  if (text.find('\0') != std::string_view::npos)
    throw Error(ErrorCode::kInvalidArgument, "a model's name has no zero bytes", "model");
  std::filesystem::path path(text);
  if (text.starts_with("~/")) {
    if (const char* home = std::getenv("HOME")) path = std::filesystem::path(home) / std::string(text.substr(2));
  }
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) return path_reference(std::move(path));
  if (looks_like_a_path(text)) throw_error(ErrorCode::kNotFound, "there is no file or folder {}", path.string());

  HubKind hub = HubKind::kHuggingFace;
  std::string_view rest = text;
  if (take_hub_host(rest, hub)) {
    const bool api_address = is_url(text) && rest.starts_with("api/");
    if (!api_address) return known_to(catalogue, parse_hub(rest, hub));
  }
  if (is_url(text)) return parse_url(text);
  if (text.find("://") != std::string_view::npos) {
    throw_error(ErrorCode::kInvalidArgument, "'{}' cannot be fetched; only http:// and https:// addresses can", text);
  }
  if (text.find('/') != std::string_view::npos) return known_to(catalogue, parse_hub(text, hub));

  const std::string near = catalogue.nearest(text);
  throw_error(
      ErrorCode::kNotFound,
      "there is no model '{}'{}; `carronade list` shows the names, and org/repo, an address or a path works too",
      text.substr(0, 200), near.empty() ? "" : fmt::format(" (did you mean {}?)", near));
}

ModelReference with_revision(ModelReference reference, std::string_view revision) {
  if (revision.empty() || reference.kind == ModelReference::Kind::kPath) return reference;
  if (reference.kind != ModelReference::Kind::kHub) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("a revision belongs to a repository, org/repo, and {} is none{}", reference.name,
                            reference.entry && !reference.entry->original.empty()
                                ? fmt::format("; its repository is {}", reference.entry->original)
                                : ""),
                "--revision");
  }
  const std::string before = reference.revision;
  set_revision(reference, revision);
  if (!before.empty() && before != reference.revision) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("two revisions are named, {} and {}", before, std::string(revision)), "--revision");
  }
  return reference;
}

}  // namespace carronade
