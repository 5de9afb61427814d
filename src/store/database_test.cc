#include "store/database.h"

#include <gtest/gtest.h>
#include <soci/soci.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "base/testing.h"

namespace carronade {
namespace {

using Integer = long long;

const std::vector<Migration> kFirst = {
    {1, "notes", {"CREATE TABLE notes (id BIGINT PRIMARY KEY, text TEXT NOT NULL)"}}};
const std::vector<Migration> kBoth = {
    kFirst[0],
    {2,
     "colours",
     {"ALTER TABLE notes ADD COLUMN colour TEXT NOT NULL DEFAULT ''", "UPDATE notes SET colour = 'red'"}}};

DatabaseOptions with(const std::vector<Migration>& steps, int busy_milliseconds = 5000) {
  return {std::chrono::milliseconds(busy_milliseconds), steps};
}

void insert(soci::session& session, Integer id, const std::string& text = "x") {
  session << "INSERT INTO notes (id, text) VALUES (:id, :text)", soci::use(id, "id"), soci::use(text, "text");
}

Integer count(const Database& database) {
  return database.read([](soci::session& session) {
    Integer value = 0;
    session << "SELECT COUNT(*) FROM notes", soci::into(value);
    return value;
  });
}

unsigned mode_of(const std::filesystem::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 0777;
}

// The error that `work` throws.
Error error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::kInternal, "");
}

class DatabaseTest : public ::testing::Test {
 protected:
  std::filesystem::path folder() const { return directory_.path() / "data"; }
  std::shared_ptr<Database> open(const std::vector<Migration>& steps = kFirst) {
    return Database::open(folder(), with(steps));
  }
  TemporaryDirectory directory_;
};

TEST_F(DatabaseTest, KeepsWhatWasWrittenForItsOwnerOnly) {
  const mode_t before = ::umask(0);
  {
    const auto database = open();
    database->write([](soci::session& session) { insert(session, 1); });
    EXPECT_EQ(mode_of(folder()), 0700u);
    for (const char* suffix : {"", "-wal", "-shm"}) EXPECT_EQ(mode_of(database->path().string() + suffix), 0600u);
  }
  ::umask(before);
  ::chmod(Database::file_in(folder()).c_str(), 0644);
  EXPECT_EQ(count(*open()), 1);
  EXPECT_EQ(mode_of(Database::file_in(folder())), 0600u);
}

TEST_F(DatabaseTest, UndoesATransactionThatFails) {
  const auto database = open();
  database->write([](soci::session& session) { insert(session, 1); });
  EXPECT_EQ(error_of([&] {
              database->write([](soci::session& session) {
                insert(session, 2);
                throw Error(ErrorCode::kNotFound, "mine");
              });
            }).code,
            ErrorCode::kNotFound);
  EXPECT_EQ(error_of([&] {
              database->write([](soci::session& session) {
                insert(session, 2);
                insert(session, 1);
              });
            }).code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(count(*database), 1);
  EXPECT_THROW(database->write([](soci::session&) { throw std::runtime_error("any"); }), std::runtime_error);
  database->write([](soci::session& session) { insert(session, 2); });  // nothing is left open
  EXPECT_EQ(count(*database), 2);
}

TEST_F(DatabaseTest, ReadsSeeOneMoment) {
  const auto database = open();
  database->write([](soci::session& session) { insert(session, 1); });
  database->read([&](soci::session& session) {
    Integer before = 0, after = 0;
    session << "SELECT COUNT(*) FROM notes", soci::into(before);
    std::thread([&] { database->write([](soci::session& other) { insert(other, 2); }); }).join();  // does not wait
    session << "SELECT COUNT(*) FROM notes", soci::into(after);
    EXPECT_EQ(before, after);
  });
  EXPECT_EQ(count(*database), 2);
}

TEST_F(DatabaseTest, RunsEachStepOnce) {
  open()->write([](soci::session& session) { insert(session, 1); });
  const auto database = open(kBoth);
  EXPECT_EQ(count(*open(kBoth)), 1);
  database->read([](soci::session& session) {
    std::string colour;
    Integer steps = 0;
    session << "SELECT colour FROM notes", soci::into(colour);
    session << "SELECT COUNT(*) FROM migrations", soci::into(steps);
    EXPECT_EQ(colour, "red");
    EXPECT_EQ(steps, 2);
  });
}

TEST_F(DatabaseTest, AStepThatFailsLeavesTheDatabaseAsItWas) {
  open()->write([](soci::session& session) { insert(session, 1); });
  std::vector<Migration> broken = kBoth;
  broken[1].statements.push_back("THIS IS NOT SQL");
  EXPECT_THROW(open(broken), Error);
  EXPECT_EQ(count(*open(kBoth)), 1);  // step 2 runs now, so it was not run before
}

TEST_F(DatabaseTest, RefusesWhatANewerVersionMade) {
  open(kBoth);
  const Error error = error_of([&] { open(kFirst); });
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_NE(std::string(error.what()).find("newer version"), std::string::npos) << error.what();
  EXPECT_EQ(count(*open(kBoth)), 0);
}

TEST_F(DatabaseTest, RefusesAnothersDatabase) {
  open({{1, "x", {"CREATE TABLE x (y BIGINT)"}}})->write([](soci::session& s) { s << "DROP TABLE migrations"; });
  EXPECT_EQ(error_of([&] { open(); }).code, ErrorCode::kUnsupported);
}

TEST_F(DatabaseTest, SaysThatAFileIsDamaged) {
  std::filesystem::create_directories(folder());
  std::ofstream(Database::file_in(folder())) << std::string(10'000, 'x');
  Error error = error_of([&] { open(); });
  EXPECT_EQ(error.code, ErrorCode::kCorruptFile);
  EXPECT_NE(std::string(error.what()).find("carronade.db is damaged"), std::string::npos) << error.what();

  std::filesystem::remove(Database::file_in(folder()));
  open()->write([](soci::session& session) {
    for (Integer id = 0; id < 500; ++id) insert(session, id, std::string(100, 'a'));
  });
  // Everything behind the header, the list of tables and what is next to it.
  std::fstream file(Database::file_in(folder()), std::ios::in | std::ios::out | std::ios::binary);
  const auto size = std::filesystem::file_size(Database::file_in(folder()));
  file.seekp(3 * 4096);
  file << std::string(size - 3 * 4096, '\xee');
  file.close();
  error = error_of([&] {
    open()->read([](soci::session& session) {
      std::string texts;
      session << "SELECT COUNT(DISTINCT text) FROM notes", soci::into(texts);
    });
  });
  EXPECT_EQ(error.code, ErrorCode::kCorruptFile) << error.what();
}

TEST_F(DatabaseTest, SaysThatTheDiskIsFull) {
  const auto database = open();
  const Error error = error_of([&] {
    database->write([](soci::session& session) {
      session << "PRAGMA max_page_count = 8";
      for (Integer id = 0; id < 100; ++id) insert(session, id, std::string(4096, 'a'));
    });
  });
  EXPECT_EQ(error.code, ErrorCode::kIo);
  EXPECT_NE(std::string(error.what()).find("full"), std::string::npos) << error.what();
  EXPECT_EQ(count(*database), 0);
  database->write([](soci::session& session) { insert(session, 1, std::string(40'960, 'a')); });  // on a new connection
}

TEST_F(DatabaseTest, SaysWhenAnotherProgramHoldsIt) {
  const auto holder = open();
  const auto waiting = Database::open(folder(), with(kFirst, 20));
  holder->write([&](soci::session& session) {
    insert(session, 1);
    const Error error = error_of([&] { waiting->write([](soci::session& other) { insert(other, 2); }); });
    EXPECT_EQ(error.code, ErrorCode::kUnavailable);
    EXPECT_NE(std::string(error.what()).find("held by another program"), std::string::npos) << error.what();
    EXPECT_EQ(count(*waiting), 0);  // readers do not wait
  });
  waiting->write([](soci::session& session) { insert(session, 2); });
  EXPECT_EQ(count(*holder), 2);
}

TEST_F(DatabaseTest, SaysWhatItMayNotDo) {
  std::ofstream(directory_.path() / "data") << "a file";
  EXPECT_EQ(error_of([&] { open(); }).code, ErrorCode::kIo);
  EXPECT_EQ(error_of([&] { Database::open("/proc/nothing/here"); }).code, ErrorCode::kIo);
}

TEST_F(DatabaseTest, TakesFoldersOfAnyName) {
  for (const char* name : {"with space", "quo\"te", "k=v", "ümläut", "semi;colon", "per%20cent"}) {
    const auto path = directory_.path() / name;
    Database::open(path, with(kFirst))->write([](soci::session& session) { insert(session, 1); });
    EXPECT_TRUE(std::filesystem::exists(path / "carronade.db")) << name;
    EXPECT_EQ(count(*Database::open(path, with(kFirst))), 1) << name;
  }
  EXPECT_EQ(error_of([&] { Database::open(directory_.path() / "k=v and space", with(kFirst)); }).code,
            ErrorCode::kInvalidArgument);
}

TEST_F(DatabaseTest, ManyThreadsAndTwoOpenings) {
  const auto first = open(), second = open();
  std::vector<std::thread> threads;
  std::atomic<bool> ending = false;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < 20; ++j) {
        (i % 2 ? first : second)->write([&](soci::session& session) { insert(session, i * 100 + j); });
      }
    });
  }
  std::thread reader([&] {
    Integer last = 0;
    while (!ending) {
      const Integer now = count(*first);
      EXPECT_GE(now, last);
      last = now;
    }
  });
  for (auto& thread : threads) thread.join();
  ending = true;
  reader.join();
  EXPECT_EQ(count(*first), 120);
}

TEST_F(DatabaseTest, OpenedByManyAtOnceItIsMadeOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i)
    threads.emplace_back([&, i] { open(kBoth)->write([&](soci::session& session) { insert(session, i); }); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(count(*open(kBoth)), 6);
}

TEST_F(DatabaseTest, AKilledProcessLosesNothingThatWasAcknowledged) {
  open();
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto database = open();
    for (Integer id = 0;; ++id) {
      database->write([&](soci::session& session) { insert(session, id); });
      if (::write(pipe_ends[1], "w", 1) != 1) ::_exit(1);
    }
  }
  char acknowledged[5];
  for (char& byte : acknowledged) ASSERT_EQ(::read(pipe_ends[0], &byte, 1), 1);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_GE(count(*open()), 5);
}

}  // namespace
}  // namespace carronade
