// What is SQLite's own: how a file becomes a connection, and what its errors mean.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>

namespace soci {
class session;
class soci_error;
}  // namespace soci

namespace carronade {

// The file is made when it is missing, readable and writable by its owner only, as are those that SQLite puts beside
// it. A connection is used by one thread at a time. Throws Error, and soci_error for what SQLite says.
std::unique_ptr<soci::session> open_sqlite(const std::filesystem::path& file, std::chrono::milliseconds busy_timeout);

// A transaction that may write: takes the lock at once, since one that reads first and then finds another writer cannot
// wait for it.
inline constexpr const char* kSqliteBeginWrite = "BEGIN IMMEDIATE";

// SQLite's answer in words that help, with the file's name.
[[noreturn]] void throw_sqlite_error(const soci::soci_error& error, const std::filesystem::path& file);

}  // namespace carronade
