// From rows of logits to tokens: drafts, masks, draws, and what follows from a token.
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/engine_impl.h"

namespace carronade {

// Where everyone writes and nobody reads a prompt, a step is bound by reading the weights, and more rows cost little.
void Engine::Impl::propose_drafts() {
  if (options.speculative_tokens == 0) return;
  const std::vector<Sequence*>& running = scheduler.running_sequences();
  for (Sequence* sequence : running) sequence->drafts.clear();  // those of the last step
  if (scheduler.waiting() > 0) return;
  if (std::any_of(running.begin(), running.end(), [](const Sequence* sequence) { return sequence->pending() != 1; }))
    return;
  int rows = static_cast<int>(running.size());
  for (Sequence* sequence : running) {
    Active& entry = active.at(sequence->id);
    const int room = options.max_model_len - sequence->length();
    const int wanted =
        entry.request.sampling.max_tokens > 0 ? entry.request.sampling.max_tokens - entry.completion_tokens() : room;
    const int most = std::min({options.speculative_tokens, room - 1, wanted - 1});
    const std::span<const TokenId> drafts = entry.lookup.propose(sequence->tokens, most);
    const int chosen = entry.gate.choose(costs, rows, static_cast<int>(drafts.size()));
    sequence->drafts.assign(drafts.begin(), drafts.begin() + chosen);
    rows += chosen;
  }
}

void Engine::Impl::remember_outputs(const Plan& plan) {
  outputs.clear();
  int next = 0;
  for (const PlannedRows& part : plan) {
    if (part.outputs == 0) continue;
    outputs.push_back(
        {part.sequence->id, next, part.outputs, part.first + part.rows - part.outputs, part.sequence->drafts});
    next += part.outputs;
  }
}

// For each part of the step whose request still runs, the token that its rows give, and those of the drafts that held.
void Engine::Impl::sample() {
  bool masked = false;
  for (StepOutputs& step : outputs) {
    if (const auto found = active.find(step.id); found != active.end()) {
      guarded(step.id, [&] {
        rate_prompt(step, found->second);
        if (step.outputs > 0) masked |= prepare(step.first_output, found->second);
      });
    }
  }
  if (masked) backend->wait();
  for (const StepOutputs& step : outputs) {
    if (const auto found = active.find(step.id); found != active.end() && step.outputs > 0)
      guarded(step.id, [&] { draw(step, found->second); });
  }
}

// What is wrong with one request ends that one only.
template <typename Action>
void Engine::Impl::guarded(RequestId id, Action action) {
  try {
    action();
  } catch (const Error& error) {
    fail({id}, error);
  } catch (const std::exception& error) {
    fail({id}, Error(ErrorCode::kInternal, error.what()));
  }
}

// Rows inside the prompt say how probable its next token was; of `step` the row behind the prompt is left, if it has
// it.
void Engine::Impl::rate_prompt(StepOutputs& step, Active& entry) {
  if (!entry.sequence->wants_prompt_logits) return;
  const std::span<const TokenId> tokens = entry.sequence->tokens;
  for (; step.outputs > 0 && step.first_position + 1 < entry.sequence->prompt_tokens;
       ++step.first_position, ++step.first_output, --step.outputs) {
    // After a preemption rows come a second time.
    if (entry.prompt_logprobs.tokens.size() != static_cast<size_t>(step.first_position)) continue;
    BackendRow row(*backend, step.first_output);
    Sampler::Logprobs logprobs = sampler.logprobs(row, entry.request.sampling.prompt_logprobs);
    const TokenId token = tokens[static_cast<size_t>(step.first_position) + 1];
    const float logprob = row.logits()[static_cast<size_t>(token)] - logprobs.total;
    entry.prompt_logprobs.tokens.push_back({token, logprob, std::move(logprobs.top), Sampler::rank(row, token)});
  }
  if (step.outputs == 0) return;
  entry.sequence->wants_prompt_logits = false;
  deliver(entry, std::move(entry.prompt_logprobs));
}

// Log-probabilities of the unrestricted row, then what the constraint and min_tokens forbid. True: a mask was enqueued.
bool Engine::Impl::prepare(int output, Active& entry) {
  const SamplingParameters& sampling = entry.request.sampling;
  if (sampling.logprobs >= 0) {
    BackendRow row(*backend, output);
    entry.logprobs = sampler.logprobs(row, sampling.logprobs);
  }
  if (!entry.forced.empty()) return false;  // it comes, allowed or not
  std::vector<uint32_t>& mask = masks[static_cast<size_t>(output)];
  mask.assign((static_cast<size_t>(model->config().vocabulary) + 31) / 32, ~0u);
  bool forbids = entry.request.constraint && entry.request.constraint->fill_mask(mask);
  const std::span<const TokenId> tokens = entry.sequence->tokens;
  forbids |=
      forbid_bad_words(sampling.bad_words, tokens.subspan(static_cast<size_t>(entry.sequence->prompt_tokens)), mask);
  if (entry.completion_tokens() < sampling.min_tokens) {
    for (const TokenId token : sampling.stop_tokens) {
      if (token < 0 || token >= model->config().vocabulary) continue;
      mask[static_cast<size_t>(token) / 32] &= ~(1u << (token % 32));
      forbids = true;
    }
  }
  if (forbids) backend->apply_mask(output, mask);
  return forbids;
}

// One token, and as long as it is what was drafted, the next.
void Engine::Impl::draw(const StepOutputs& step, Active& entry) {
  const int drafted = static_cast<int>(step.drafts.size());
  for (int i = 0; i <= drafted; ++i) {
    const int output = step.first_output + i;
    if (i > 0 && prepare(output, entry)) backend->wait();
    bool held = false;
    const bool goes_on = draw_one(output, entry, i < drafted ? &step.drafts[static_cast<size_t>(i)] : nullptr, held);
    if (goes_on && held && entry.forced.empty()) continue;
    const int accepted = held ? i + 1 : i;
    if (drafted > 0) metrics.drafts_checked(drafted, accepted);
    if (drafted > 0 && goes_on) entry.gate.checked(drafted, accepted);
    return;
  }
}

// False: it was the last token, and `entry` is gone.
bool Engine::Impl::draw_one(int output, Active& entry, const TokenId* draft, bool& held) {
  const SamplingParameters& sampling = entry.request.sampling;
  BackendRow row(*backend, output);
  TokenEvent event;
  if (entry.forced.empty()) {
    event.token = sampler.draw(row, sampling, entry.counts, entry.sequence->length(), entry.sequence->tokens);
  } else {
    event.token = entry.forced.front();
    entry.forced.pop_front();
  }
  if (sampling.logprobs >= 0) {
    event.logprob = row.logits()[static_cast<size_t>(event.token)] - entry.logprobs.total;
    event.top = std::move(entry.logprobs.top);
    event.rank = Sampler::rank(row, event.token);
  }
  held = draft && *draft == event.token;
  bool goes_on = take(entry, std::move(event), held);
  // Forced tokens all come at once, and are computed in one step; but where log-probabilities are wanted each has its
  // row first.
  while (goes_on && sampling.logprobs < 0 && !entry.forced.empty()) {
    TokenEvent forced;
    forced.token = entry.forced.front();
    entry.forced.pop_front();
    held = false;
    goes_on = take(entry, std::move(forced), false);
  }
  return goes_on;
}

// The next token of an answer, drawn or forced; `computed`: a draft that held. False: it was the last, and `entry` is
// gone.
bool Engine::Impl::take(Active& entry, TokenEvent event, bool computed) {
  const SamplingParameters& sampling = entry.request.sampling;
  const TokenId token = event.token;
  const Clock::time_point now = Clock::now();
  if (entry.drawn++ == 0) {
    entry.first_token = now;
    metrics.prompt_tokens.add(static_cast<uint64_t>(entry.sequence->prompt_tokens));
    metrics.time_to_first_token.observe(seconds_between(entry.submitted, now));
  } else {
    metrics.inter_token_latency.observe(seconds_between(entry.last_token, now));
  }
  entry.last_token = now;
  const auto& stops = sampling.stop_tokens;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
    finish(entry, FinishReason::kStop, token);
    return false;
  }
  if (computed) {
    scheduler.append_computed(*entry.sequence, token);
  } else {
    scheduler.append(*entry.sequence, token);
  }
  if (uses_penalties(sampling)) ++entry.counts[token];
  entry.has_answered = true;
  metrics.generation_tokens.add();
  deliver(entry, std::move(event));

  Constraint::Verdict verdict;
  if (entry.request.constraint) verdict = entry.request.constraint->accept(token);
  if (std::holds_alternative<Constraint::Stop>(verdict)) {
    finish(entry, FinishReason::kStop);
    return false;
  }
  if (entry.completion_tokens() == sampling.max_tokens || entry.sequence->length() == options.max_model_len) {
    finish(entry, FinishReason::kLength);
    return false;
  }
  if (const auto* force = std::get_if<Constraint::Force>(&verdict)) {
    check_tokens(force->tokens, model->config().vocabulary);
    entry.forced.insert(entry.forced.begin(), force->tokens.begin(), force->tokens.end());
  }
  return true;
}

}  // namespace carronade
