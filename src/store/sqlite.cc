#include "store/sqlite.h"

#include <fcntl.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "base/error.h"

namespace carronade {

namespace {

int result_of(const soci::soci_error& error) {
  const auto* sqlite = dynamic_cast<const soci::sqlite3_soci_error*>(&error);
  return sqlite ? sqlite->result() & 0xff : SQLITE_ERROR;  // the low byte is the kind, the rest its variety
}

// Before SQLite would make it with the umask's permissions; the -wal and -shm files take theirs from it.
void make_private(const std::filesystem::path& file) {
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) throw_error(ErrorCode::kIo, "cannot open the database {}: {}", file.string(), std::strerror(errno));
  struct stat status {};
  if (::fstat(fd, &status) == 0 && (status.st_mode & 077) != 0 && status.st_uid == ::geteuid()) ::fchmod(fd, 0600);
  ::close(fd);
}

// SOCI reads its own little language: key=value pairs, a value with a space in quotation marks; text without "=" is the
// file's name as it is.
std::string connect_string(const std::filesystem::path& file) {
  std::string name = std::filesystem::absolute(file).string();
  if (name.find('=') == std::string::npos) return name;
  if (name.find_first_of("\" ") == std::string::npos) return "db=" + name;
  throw_error(
      ErrorCode::kInvalidArgument,
      "the database cannot lie in {}: a path with \"=\" may hold no space and no quotation mark; choose another "
      "--data-dir",
      file.parent_path().string());
}

// SQLite says so only where it wrote to the database itself, not where it could not make the files beside it.
bool is_disk_full(const std::filesystem::path& file) {
  struct statvfs disk {};
  constexpr uint64_t kNeeded = 64 << 10;  // for the write-ahead log's index
  return ::statvfs(file.c_str(), &disk) == 0 && uint64_t{disk.f_bavail} * disk.f_frsize < kNeeded;
}

// Readers and a writer side by side. Changing to it needs the file alone for a moment, which SQLite does not wait for
// by itself. Where the file system cannot (no shared memory), SQLite stays with its older way, which is right too.
void use_write_ahead_log(soci::session& session, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    try {
      std::string mode;
      session << "PRAGMA journal_mode", soci::into(mode);
      if (mode != "wal") session << "PRAGMA journal_mode = WAL", soci::into(mode);
      return;
    } catch (const soci::soci_error& error) {
      const int result = result_of(error);
      if ((result != SQLITE_BUSY && result != SQLITE_LOCKED) || std::chrono::steady_clock::now() > deadline) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
}

}  // namespace

std::unique_ptr<soci::session> open_sqlite(const std::filesystem::path& file, std::chrono::milliseconds busy_timeout) {
  make_private(file);
  auto session = std::make_unique<soci::session>(*soci::factory_sqlite3(), connect_string(file));
  *session << "PRAGMA busy_timeout = " << busy_timeout.count();
  use_write_ahead_log(*session, busy_timeout);
  *session << "PRAGMA synchronous = FULL";  // with a write-ahead log, less would lose commits in a power cut
  *session << "PRAGMA foreign_keys = ON";
  *session << "PRAGMA trusted_schema = OFF";  // a file from elsewhere runs no functions of its choice
  return session;
}

void throw_sqlite_error(const soci::soci_error& error, const std::filesystem::path& file) {
  const std::string name = file.string();
  const std::string detail = error.get_error_message();
  switch (result_of(error)) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw_error(ErrorCode::kUnavailable,
                  "the database {} is held by another program; try again when that is done (`fuser {}` says which)",
                  name, name);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      throw_error(ErrorCode::kCorruptFile,
                  "the database {} is damaged ({}); put a backup in its place, or move it away to begin anew", name,
                  detail);
    case SQLITE_FULL:
      throw_error(ErrorCode::kIo, "the disk is full: nothing can be written to the database {}", name);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      throw_error(ErrorCode::kIo, "the database {} may not be written by this user", name);
    case SQLITE_CANTOPEN:
      throw_error(ErrorCode::kIo, "cannot open the database {}: {}", name, detail);
    case SQLITE_IOERR:
      if (is_disk_full(file)) {
        throw_error(ErrorCode::kIo, "the disk is full: the database {} cannot be opened; make room, then try again",
                    name);
      }
      throw_error(ErrorCode::kIo, "the disk failed at the database {}: {}", name, detail);
    case SQLITE_CONSTRAINT:
      throw_error(ErrorCode::kInvalidArgument, "this contradicts what the database has: {}", detail);
    default:
      throw_error(ErrorCode::kInternal, "the database {}: {}", name, detail);
  }
}

}  // namespace carronade
