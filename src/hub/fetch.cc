#include "hub/fetch.h"

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <mutex>

#include "hub/http.h"
#include "hub/names.h"
#include "hub/part_file.h"

namespace carronade {
namespace {

constexpr int kAttemptsWithoutAnyByte = 3;
constexpr auto kLongestPause = std::chrono::milliseconds(10'000);

std::string unquoted(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  std::erase(etag, '"');
  return lower_case(etag);
}

// "bytes 100-999/1000" → {100, 1000}.
struct ContentRange {
  uint64_t begin = 0;
  std::optional<uint64_t> total;
};

std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return std::nullopt;
  const auto number = [](std::string_view digits) -> std::optional<uint64_t> {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    return value;
  };
  const auto begin = number(text.substr(0, dash));
  if (!begin) return std::nullopt;
  return ContentRange{*begin, number(text.substr(slash + 1))};
}

class FileFetch {
 public:
  FileFetch(const RemoteFile& file, const std::filesystem::path& target, const FetchContext& context)
      : file_(file), target_(target), context_(context), part_(target), sha256_(file.sha256), total_(file.bytes) {}

  FetchedFile run() {
    prepare();
    for (;;) {
      download();
      if (verified()) break;
    }
    FetchedFile result{part_.size(), part_.sha256(), revision_};
    part_.commit();
    return result;
  }

 private:
  std::string name() const { return target_.filename().string(); }

  // Decides whether what an earlier run left may be continued.
  void prepare() {
    const PartIdentity left = part_.identity();
    const bool same_bytes = !sha256_.empty() && left.sha256 == sha256_;
    const bool same_version = sha256_.empty() && !left.etag.empty() && left.source == source();
    const bool too_long = total_ && part_.size() > *total_;
    if (part_.size() == 0 || !(same_bytes || same_version) || too_long) {
      part_.truncate(0, context_.stop);
      return;
    }
    if (same_version) {
      etag_ = left.etag;
      if (!left.sha256.empty()) sha256_ = left.sha256;
    }
    context_.on_message(fmt::format("continuing {} after {} bytes", name(), part_.size()));
    part_.load_hash(context_.stop);
    resumed_ = true;
  }

  std::string source() const { return sha256_of(file_.url); }

  void download() {
    int failures = 0;
    furthest_ = part_.size();
    while (!(total_ && part_.size() == *total_ && part_.size() > 0)) {
      try {
        attempt();
        if (!total_ || part_.size() == *total_) return;
        throw HttpFailure(ErrorCode::kUnavailable, fmt::format("{}: the transfer ended early", url_origin(file_.url)),
                          0, true);
      } catch (const HttpFailure& failure) {
        if (failure.status == 416) part_.truncate(0, context_.stop);
        if (progressed()) failures = 0;
        const int limit = received_ ? context_.attempts : std::min(context_.attempts, kAttemptsWithoutAnyByte);
        if (!failure.retry || ++failures >= limit) throw;
        retry_later(failure, failures);
      }
    }
  }

  // Whether more arrived than ever before: a server that breaks off at the same place each time must not be asked for
  // ever.
  bool progressed() {
    const uint64_t step = std::max<uint64_t>(1, std::min<uint64_t>(1 << 20, total_.value_or(100 << 20) / 100));
    if (part_.size() < furthest_ + step) return false;
    furthest_ = part_.size();
    return true;
  }

  void retry_later(const HttpFailure& failure, int failures) {
    auto pause =
        std::min<std::chrono::milliseconds>(context_.first_pause * (1 << std::min(failures - 1, 10)), kLongestPause);
    pause = std::max<std::chrono::milliseconds>(pause, failure.retry_after);
    context_.on_message(
        fmt::format("{}; trying again in {:.1f} s", failure.what(), static_cast<double>(pause.count()) / 1000));
    pause_for(pause, context_.stop);
  }

  void attempt() {
    HttpRequest request;
    request.url = file_.url;
    request.token = file_.token;
    request.offset = part_.size();
    if (sha256_.empty()) request.if_range = etag_;
    request.stall_timeout = context_.stall_timeout;
    request.stop = context_.stop;
    http_get(
        request, [this](const HttpResponse& response) { begin(response); },
        [this](std::span<const std::byte> bytes) { receive(bytes); });
  }

  void begin(const HttpResponse& response) {
    refuse_web_page(response);
    check_version(response);
    if (part_.size() > 0) begin_resumed(response);
    if (part_.size() == 0 && response.status == 206) {
      throw HttpFailure(ErrorCode::kUnavailable,
                        url_origin(file_.url) + ": sends a part where the whole file is wanted", 0, true);
    }
    if (part_.size() == 0) {
      if (const auto length = response.content_length()) learn_total(*length);
    }
    if (total_) require_free_space(target_.parent_path(), *total_ - std::min(part_.size(), *total_));
    save_identity(response);
    context_.on_progress(part_.size(), total_);
  }

  // The hub's own word about the file, on the way to its storage.
  void check_version(const HttpResponse& response) {
    if (revision_.empty()) revision_ = response.linked("x-repo-commit");
    const std::string linked = unquoted(response.linked("x-linked-etag"));
    if (is_sha256(linked) && linked != sha256_) {
      if (!file_.sha256.empty()) {
        throw_error(ErrorCode::kCorruptFile,
                    "{} offers another file named {} than was asked for (SHA-256 {}… instead of {}…); if it has "
                    "just changed there, try again",
                    url_origin(file_.url), name(), linked.substr(0, 12), sha256_.substr(0, 12));
      }
      if (part_.size() > 0) restart();  // what is left belongs to the version before
      sha256_ = linked;
      total_ = file_.bytes;
    }
    const std::string size = response.linked("x-linked-size");
    uint64_t bytes = 0;
    const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), bytes);
    if (!size.empty() && error == std::errc() && end == size.data() + size.size()) learn_total(bytes);
  }

  void begin_resumed(const HttpResponse& response) {
    if (response.status == 200) {  // no ranges there, or the file has changed: from the beginning
      restart();
      return;
    }
    const auto range = parse_content_range(response.header("content-range"));
    if (!range || range->begin != part_.size()) {
      restart();
      throw HttpFailure(ErrorCode::kUnavailable, url_origin(file_.url) + ": sends another range than was asked for", 0,
                        true);
    }
    if (range->total) learn_total(*range->total);
  }

  void restart() {
    part_.truncate(0, context_.stop);
    resumed_ = false;
  }

  void learn_total(uint64_t bytes) {
    if (!total_) total_ = bytes;
    if (*total_ == bytes) return;
    const uint64_t listed = *total_;
    if (sha256_.empty() && !file_.bytes) {  // only an earlier answer said otherwise: it is another version now
      total_ = bytes;
      restart();
      return;
    }
    throw_error(ErrorCode::kCorruptFile, "{}: {} should have {} bytes, but the server offers {}", url_origin(file_.url),
                name(), listed, bytes);
  }

  // A login page of the network comes with status 200.
  void refuse_web_page(const HttpResponse& response) {
    const std::string type = lower_case(response.header("content-type"));
    if (type.starts_with("text/html") && !lower_case(name()).ends_with(".html"))
      fail("answers with a web page instead of the file");
  }

  [[noreturn]] void fail(const std::string& what) {
    throw HttpFailure(ErrorCode::kUnavailable, fmt::format("{} {}", url_origin(file_.url), what), 0, false);
  }

  void save_identity(const HttpResponse& response) {
    const std::string etag = response.header("etag");
    etag_ = etag.starts_with("W/") ? "" : etag;  // a weak one does not promise equal bytes
    part_.save_identity({sha256_, source(), etag_});
  }

  void receive(std::span<const std::byte> bytes) {
    if (total_ && part_.size() + bytes.size() > *total_) {
      part_.discard();
      throw_error(ErrorCode::kCorruptFile, "{} sends more than the {} bytes it announced for {}", url_origin(file_.url),
                  *total_, name());
    }
    const bool first = part_.size() == 0;
    if (first && lower_case(name()).ends_with(".gguf") && bytes.size() >= 4) {
      const std::string_view magic(reinterpret_cast<const char*>(bytes.data()), 4);
      if (magic != "GGUF") fail("sends something that is no GGUF file");
    }
    part_.append(bytes);
    received_ = true;
    context_.on_progress(part_.size(), total_);
  }

  // False: the part was damaged by what an earlier run left, and is empty again.
  bool verified() {
    const bool wrong_sha256 = !sha256_.empty() && part_.sha256() != sha256_;
    const bool wrong_blob = !file_.git_blob_sha1.empty() && part_.git_blob_sha1(context_.stop) != file_.git_blob_sha1;
    if (!wrong_sha256 && !wrong_blob) return true;
    if (resumed_) {
      context_.on_message(fmt::format("what was left of {} is damaged; starting it again", name()));
      restart();
      return false;
    }
    const std::string got = wrong_sha256 ? part_.sha256() : part_.git_blob_sha1(context_.stop);
    const std::string expected = wrong_sha256 ? sha256_ : file_.git_blob_sha1;
    part_.discard();
    throw_error(ErrorCode::kCorruptFile, "{} from {} has the wrong hash ({}… instead of {}…) and was removed", name(),
                url_origin(file_.url), got.substr(0, 12), expected.substr(0, 12));
  }

  const RemoteFile& file_;
  const std::filesystem::path target_;
  const FetchContext& context_;
  PartFile part_;
  std::string sha256_;             // of the whole file, when somebody said it
  std::optional<uint64_t> total_;  // likewise
  std::string etag_;
  std::string revision_;
  uint64_t furthest_ = 0;
  bool resumed_ = false;   // holds bytes of an earlier run
  bool received_ = false;  // bytes have come in this one
};

}  // namespace

FetchedFile fetch_file(const RemoteFile& file, const std::filesystem::path& target, const FetchContext& context) {
  return FileFetch(file, target, context).run();
}

void pause_for(std::chrono::milliseconds time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any waiting;
  std::unique_lock lock(mutex);
  waiting.wait_for(lock, stop, time, [] { return false; });
  if (stop.stop_requested()) throw Error(ErrorCode::kCancelled, "stopped");
}

}  // namespace carronade
