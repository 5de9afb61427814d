// One pull of one model: takes the lock, asks the sources, fetches from the first that works, writes the manifest.
// Internal to hub/.
#pragma once

#include <exception>
#include <functional>
#include <future>
#include <string>
#include <vector>

#include "base/error.h"
#include "hub/hub.h"

namespace carronade {

enum class Haste {
  kPatient,       // the hubs are the only way: wait for them
  kQuick,         // there is another way: "can it be reached?" takes only the probe's few seconds
  kPackagesOnly,  // hubs have just been found out of reach
};

class PullJob {
 public:
  // All references are borrowed for the job's life.
  PullJob(const Hub& hub, const ModelReference& reference, const PullOptions& options, ProgressSink& sink, Haste haste);

  LocalModel run();

  // Whether any byte of the model has come in this job.
  bool received() const { return received_; }

 private:
  // What one source offers: files of a repository or an address, or packages.
  struct Plan {
    std::string source;  // for the manifest
    std::string label;   // for people
    std::string repository;
    std::string revision;
    std::string main;
    std::vector<RemoteFile> files;
    const ModelSource* packages = nullptr;
    std::optional<uint64_t> total() const;
  };
  using Offer = std::function<Plan()>;  // throws when there is none

  std::vector<Offer> offers();
  Offer hub_offer(const Repository& repository, const std::string& selector);
  Offer package_offer(const ModelSource& source);
  Offer address_offer();
  Plan plan_from_listing(const Repository& repository, const std::string& selector,
                         const std::vector<RemoteFile>& listing) const;
  void expect(Plan& plan) const;

  void take(FileLock& lock);
  InstalledModel fetch_from_any();
  bool give_up_after(const Error& error) const;
  std::vector<std::string> reasons() const;  // what failed, each once
  [[noreturn]] void throw_failures() const;
  InstalledModel fetch(const Plan& plan);
  void fetch_files(const Plan& plan, InstalledModel& model);
  FetchContext context(uint64_t before, std::optional<uint64_t> total);
  void check_space(const Plan& plan) const;

  const Hub& hub_;
  const ModelReference& reference_;
  const PullOptions& options_;
  ProgressSink& sink_;
  const Haste haste_;
  std::filesystem::path directory_;
  std::stop_source probes_;  // ends the questions whose answers are no longer wanted
  std::vector<Error> failures_;
  bool received_ = false;
};

}  // namespace carronade
