// The database under --data-dir: opening, connections, transactions, errors. SOCI stays behind this room's door: other
// rooms use the typed stores (api_keys.h), which speak SQL that SQLite and PostgreSQL both understand.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "store/migrations.h"

namespace soci {
class session;
}

namespace carronade {

struct DatabaseOptions {
  std::chrono::milliseconds busy_timeout{5000};  // that another process's write is waited for
  std::span<const Migration> migrations = carronade::migrations();
};

// Thread-safe: each running transaction has a connection of its own; writes of one process go one after the other,
// reads beside them. What write() returned from survives `kill -9` and a power cut.
//
// Errors: kUnavailable when another process holds the database longer than the busy timeout, kCorruptFile for a damaged
// file, kUnsupported for one made by a newer version, kIo for a full disk and for missing permissions. Each names the
// file and says what helps. What `work` throws goes through, and its transaction is undone.
class Database {
 public:
  // "carronade.db" in `folder`; both are made where they are missing, for their owner only, and brought up to date.
  static std::shared_ptr<Database> open(const std::filesystem::path& folder, const DatabaseOptions& options = {});
  static std::filesystem::path file_in(const std::filesystem::path& folder);

  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  const std::filesystem::path& path() const;

  // Runs `work(soci::session&)` in one transaction and returns what it returns; all of it happens, or nothing. Not from
  // within `work`.
  template <typename Work>
  auto write(Work&& work) {
    return run(std::forward<Work>(work), [this](const Transaction& t) { run_write(t); });
  }

  // The same for reading: one consistent view.
  template <typename Work>
  auto read(Work&& work) const {
    return run(std::forward<Work>(work), [this](const Transaction& t) { run_read(t); });
  }

 private:
  using Transaction = std::function<void(soci::session&)>;
  struct Impl;

  explicit Database(std::unique_ptr<Impl> impl);
  void run_write(const Transaction& work);
  void run_read(const Transaction& work) const;

  template <typename Work, typename Runner>
  static auto run(Work&& work, Runner&& runner) {
    using Result = std::invoke_result_t<Work, soci::session&>;
    if constexpr (std::is_void_v<Result>) {
      runner([&](soci::session& session) { work(session); });
    } else {
      std::optional<Result> result;
      runner([&](soci::session& session) { result.emplace(work(session)); });
      return std::move(*result);
    }
  }

  std::unique_ptr<Impl> impl_;
};

}  // namespace carronade
