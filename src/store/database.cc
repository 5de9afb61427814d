#include "store/database.h"

#include <soci/soci.h>

#include <mutex>
#include <vector>

#include "base/error.h"
#include "store/sqlite.h"

namespace carronade {

namespace {

int64_t seconds_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  if (std::filesystem::create_directories(folder, error)) {
    std::filesystem::permissions(folder, std::filesystem::perms::owner_all, error);
  }
  if (error) throw_error(ErrorCode::kIo, "cannot make the data folder {}: {}", folder.string(), error.message());
}

// Undone unless it was committed.
class OpenTransaction {
 public:
  OpenTransaction(soci::session& session, const char* begin) : session_(session) { session_ << begin; }
  ~OpenTransaction() {
    if (committed_) return;
    try {
      session_ << "ROLLBACK";
    } catch (const soci::soci_error&) {  // SQLite has undone it by itself, after a full disk for one
    }
  }
  OpenTransaction(const OpenTransaction&) = delete;
  OpenTransaction& operator=(const OpenTransaction&) = delete;
  void commit() {
    session_ << "COMMIT";
    committed_ = true;
  }

 private:
  soci::session& session_;
  bool committed_ = false;
};

}  // namespace

struct Database::Impl {
  using Session = std::unique_ptr<soci::session>;

  Session lease() {
    {
      std::lock_guard lock(mutex);
      if (!idle.empty()) {
        Session session = std::move(idle.back());
        idle.pop_back();
        return session;
      }
    }
    return open_sqlite(path, options.busy_timeout);
  }
  void give_back(Session session) {
    std::lock_guard lock(mutex);
    if (idle.size() < kIdleConnections) idle.push_back(std::move(session));
  }

  // A connection whose transaction failed is not used again: what state it is in would be a guess.
  void run(const char* begin, const Transaction& work) {
    try {
      Session session = lease();
      {
        OpenTransaction transaction(*session, begin);
        work(*session);
        transaction.commit();
      }
      give_back(std::move(session));
    } catch (const soci::soci_error& error) {
      throw_sqlite_error(error, path);
    }
  }

  static constexpr size_t kIdleConnections = 4;  // more threads than that rarely read at one time
  std::filesystem::path path;
  DatabaseOptions options;
  std::mutex writing;  // threads of one process wait here rather than in SQLite's polling
  std::mutex mutex;
  std::vector<Session> idle;  // under mutex
};

std::filesystem::path Database::file_in(const std::filesystem::path& folder) { return folder / "carronade.db"; }

std::shared_ptr<Database> Database::open(const std::filesystem::path& folder, const DatabaseOptions& options) {
  make_folder(folder);
  auto impl = std::make_unique<Impl>();
  impl->path = file_in(folder);
  impl->options = options;
  std::shared_ptr<Database> database(new Database(std::move(impl)));
  const auto steps = database->impl_->options.migrations;
  if (database->read([&](soci::session& session) { return needs_migration(session, steps); })) {
    database->write([&](soci::session& session) { migrate(session, steps, seconds_now()); });
  }
  return database;
}

Database::Database(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Database::~Database() = default;

const std::filesystem::path& Database::path() const { return impl_->path; }

void Database::run_write(const Transaction& work) {
  std::lock_guard lock(impl_->writing);
  impl_->run(kSqliteBeginWrite, work);
}

void Database::run_read(const Transaction& work) const { impl_->run("BEGIN", work); }

}  // namespace carronade
