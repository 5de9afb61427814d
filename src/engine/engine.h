// Many requests, one model: queue → Scheduler → Batch → Runner → Sampler → one token a sequence, on one thread of its
// own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "engine/request.h"
#include "model/model.h"

namespace carronade {

class KvFolder;         // kv_folder.h
struct EngineMetrics;   // metrics.h
struct EngineSnapshot;  // snapshot.h

// As EngineOptions::max_model_len: as many as the KV cache holds, at most as many as the model was trained for.
inline constexpr int kLongestThatFits = -1;

// What EngineOptions::max_num_seqs is when it is left to be chosen, as many as a step's rows allow.
inline constexpr int kDefaultSequences = 16;

struct EngineOptions {
  int max_model_len = 0;           // positions of one sequence, prompt and answer; 0: the model's, capped at 4096
  int max_num_seqs = 0;            // sequences at once; 0: chosen
  int max_num_batched_tokens = 0;  // rows of a step; 0: chosen
  uint64_t kv_bytes =
      0;  // 0: max_num_seqs * max_model_len, capped at half of the free memory; resident only where used
  uint64_t memory_bytes = 0;  // for weights, KV cache and what a step needs, all together; 0: no bound of its own
  DType kv_dtype = DType::kF16;
  bool keep_little = false;           // of ended sequences only as much as one may need, as when nobody gave a bound
  bool pace = true;                   // short steps, for those who stream; false: prompts take all rows of a step
  bool prefix_cache = true;           // keep blocks of ended sequences, to be found by those that begin alike
  int max_waiting = 1024;             // requests in the queue
  std::vector<std::string> adapters;  // what names adapter i, which the model has loaded: no two files share it
  uint64_t kv_disk_bytes = 0;         // of files in kv_disk_directory; 0: what leaves the KV cache is lost
  std::filesystem::path kv_disk_directory;
  std::shared_ptr<KvFolder> kv_disk_folder;  // in place of the directory: shared with other engines
  std::string kv_disk_model;                 // names the weights in them: no two models share it
  int speculative_tokens = 0;                // at most so many guessed tokens a step and sequence; 0: no guessing
};

struct EngineStats {
  int running = 0, waiting = 0;
  int blocks_total = 0, blocks_used = 0, blocks_cached = 0;  // what is neither is free
  int blocks_touched = 0;                                    // ever used: their memory is resident
  uint64_t prompt_tokens = 0, generation_tokens = 0, requests_finished = 0;
  uint64_t cached_tokens = 0, preemptions = 0, steps = 0;
  uint64_t draft_tokens = 0, accepted_draft_tokens = 0;
  uint64_t kv_disk_bytes = 0, kv_disk_read = 0, kv_disk_written = 0, kv_disk_damaged = 0,
           kv_disk_dropped = 0;  // the last four in blocks
};

// Called on the engine's thread; must return at once and not call the engine.
using SnapshotSink = std::function<void(EngineSnapshot)>;

// Thread-safe: submit, cancel, end_background, stats, metrics and snapshot may be called from any thread.
class Engine {
 public:
  // The model was loaded on this backend. Allocates the KV cache. Throws Error{kInvalidArgument | kUnavailable}.
  Engine(std::unique_ptr<Backend> backend, std::unique_ptr<Model> model, const EngineOptions& options);
  ~Engine();  // finishes what runs with kCancelled, then joins the thread
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Throws Error{kInvalidArgument} at once for what can never run (empty prompt, token outside of the vocabulary, a
  // prompt that leaves no position for an answer: the message has the count, the limit and the remedy);
  // Error{kUnavailable} when the queue is full. From then on the sink gets exactly one Finished, whatever happens.
  RequestId submit(Request request);

  // The request ends within a step with kCancelled. No-op for one that has ended.
  void cancel(RequestId id);

  // The engine is wanted no longer: what runs and waits with background priority ends within a step with kFailed, and
  // so does what still comes.
  void end_background();

  const ModelConfig& model_config() const;
  const EngineOptions& options() const;  // as chosen
  const DeviceInfo& device() const;
  EngineStats stats() const;             // as of the last step's end
  const EngineMetrics& metrics() const;  // live: what a request added is there before its Finished
  // The sink is called exactly once, between two steps: within a step, or at once when nothing runs.
  void snapshot(SnapshotSink sink);
  uint64_t weight_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace carronade
