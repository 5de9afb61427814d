#include "api/operator.h"

#include "api/json_fields.h"

namespace carronade {
namespace {

std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string_view name_of(Tenant::Priority priority) {
  switch (priority) {
    case Tenant::Priority::kInteractive:
      return "interactive";
    case Tenant::Priority::kNormal:
      return "normal";
    case Tenant::Priority::kBackground:
      return "background";
  }
  return "";
}

std::string_view name_of(SequenceSnapshot::Phase phase) {
  switch (phase) {
    case SequenceSnapshot::Phase::kWaiting:
      return "waiting";
    case SequenceSnapshot::Phase::kPrefill:
      return "prefill";
    case SequenceSnapshot::Phase::kDecode:
      return "decode";
  }
  return "";
}

Json sequences_json(const std::vector<SequenceSnapshot>& sequences) {
  Json list = Json::array();
  for (const SequenceSnapshot& sequence : sequences) {
    Json one = {{"id", sequence.id},
                {"tenant", sequence.tenant.id},
                {"weight", sequence.tenant.weight},
                {"priority", name_of(sequence.tenant.priority)},
                {"phase", name_of(sequence.phase)},
                {"age_seconds", sequence.age},
                {"prompt_tokens", sequence.prompt_tokens},
                {"cached_tokens", sequence.cached_tokens},
                {"computed_tokens", sequence.computed},
                {"generated_tokens", sequence.generated},
                {"max_tokens", sequence.max_tokens},
                {"blocks", sequence.blocks},
                {"preemptions", sequence.preemptions},
                {"draft_acceptance", sequence.draft_rate}};
    if (sequence.adapter >= 0) one["adapter"] = sequence.adapter;
    if (sequence.deadline_in) one["deadline_in_seconds"] = *sequence.deadline_in;
    list.push_back(std::move(one));
  }
  return list;
}

Json step_json(const EngineSnapshot& snapshot) {
  Json json = {{"count", snapshot.steps},
               {"max_rows", snapshot.max_num_batched_tokens},
               {"prompt_rows_alone", snapshot.prompt_rows_alone},
               {"prompt_rows_beside_streams", snapshot.prompt_rows_beside_streams},
               {"seconds_per_prompt_row", snapshot.seconds_per_prompt_row},
               {"last", nullptr}};
  if (const auto& last = snapshot.last_step) {
    json["last"] = {{"seconds", last->seconds},         {"sequences", last->sequences},
                    {"prompt_rows", last->prompt_rows}, {"decode_rows", last->decode_rows},
                    {"draft_rows", last->draft_rows},   {"age_seconds", last->age}};
  }
  return json;
}

Json disk_json(const std::optional<EngineSnapshot::Disk>& disk) {
  if (!disk) return nullptr;
  return {{"capacity_bytes", disk->capacity}, {"bytes", disk->bytes}, {"blocks", disk->blocks},
          {"written", disk->written},         {"read", disk->read},   {"damaged", disk->damaged},
          {"dropped", disk->dropped}};
}

Json scheduler_json(const SchedulerReading& reading) {
  const EngineSnapshot& snapshot = reading.snapshot;
  Json tenants = Json::array();
  for (const TenantSnapshot& tenant : snapshot.tenants)
    tenants.push_back({{"id", tenant.id}, {"served", tenant.served}, {"sequences", tenant.sequences}});
  return {{"model", reading.model_name},
          {"running", sequences_json(snapshot.running)},
          {"waiting", sequences_json(snapshot.waiting)},
          {"tenants", std::move(tenants)},
          {"limits",
           {{"max_num_seqs", snapshot.max_num_seqs},
            {"max_model_len", snapshot.max_model_len},
            {"max_waiting", snapshot.max_waiting}}},
          {"step", step_json(snapshot)},
          {"pool",
           {{"total", snapshot.blocks_total},
            {"used", snapshot.blocks_used},
            {"cached", snapshot.blocks_cached},
            {"free", snapshot.blocks_free},
            {"touched", snapshot.blocks_touched},
            {"positions_per_block", snapshot.block_positions},
            {"balanced", snapshot.books_balance}}},
          {"preemptions", snapshot.preemptions},
          {"speculation",
           {{"most_tokens", snapshot.speculative_tokens},
            {"drafted", snapshot.draft_tokens},
            {"accepted", snapshot.accepted_draft_tokens}}},
          {"kv_disk", disk_json(snapshot.kv_disk)}};
}

Json pool_model_json(const PoolModelReport& model, PoolTime now) {
  const auto seconds = [](PoolClock::duration time) { return std::chrono::duration<double>(time).count(); };
  const PoolModelStatus& status = model.status;
  Json json = {{"model", model.name},
               {"status", model_state_name(status.state)},
               {"bytes", status.bytes},
               {"users", status.users},
               {"background", status.background},
               {"waiting", status.waiting},
               {"idle_seconds", nullptr},
               {"unloads_in_seconds", nullptr},
               {"loads", model.loads},
               {"failures", model.failures},
               {"unloads", model.unloads},
               {"load_seconds", model.load_seconds}};
  if (status.idle_since) json["idle_seconds"] = seconds(now - *status.idle_since);
  if (status.idle_since && status.keep_until != PoolTime::max())
    json["unloads_in_seconds"] = seconds(status.keep_until - now);
  return json;
}

}  // namespace

std::string_view model_state_name(ModelState state) {
  switch (state) {
    case ModelState::kUnloaded:
      return "unloaded";
    case ModelState::kLoading:
      return "loading";
    case ModelState::kLoaded:
      return "loaded";
    case ModelState::kUnloading:
      return "unloading";
  }
  return "";
}

std::string scheduler_body(const SchedulerReading& reading) { return text_of(scheduler_json(reading)); }

std::string schedulers_body(const std::vector<SchedulerReading>& readings, const PoolReport& report, PoolTime now) {
  Json models = Json::array(), pool = Json::array();
  for (const SchedulerReading& reading : readings) models.push_back(scheduler_json(reading));
  for (const PoolModelReport& model : report.models) pool.push_back(pool_model_json(model, now));
  return text_of({{"models", std::move(models)},
                  {"memory", {{"budget_bytes", report.budget}, {"committed_bytes", report.committed}}},
                  {"pool", std::move(pool)}});
}

std::string load_body(int running_answers) { return text_of({{"server_load", running_answers}}); }
std::string version_body(std::string_view version) { return text_of({{"version", version}}); }

}  // namespace carronade
