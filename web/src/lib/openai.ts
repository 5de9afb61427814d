import type { Usage } from './chat';
import { ChatFailure, failureFrom } from './failure';

/** What one line of a chat completion stream adds. */
export interface Delta {
  content: string;
  reasoning: string;
  finishReason?: string;
  usage?: Usage;
}

export interface ModelInfo {
  id: string;
  maxModelLen?: number;
}

type Json = Record<string, unknown>;

function object(value: unknown): Json {
  return typeof value === 'object' && value !== null ? (value as Json) : {};
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function count(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}

function parseUsage(value: unknown): Usage | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const usage = object(value);
  return {
    promptTokens: count(usage['prompt_tokens']),
    completionTokens: count(usage['completion_tokens']),
    reasoningTokens: count(object(usage['completion_tokens_details'])['reasoning_tokens']),
    cachedTokens: count(object(usage['prompt_tokens_details'])['cached_tokens']),
  };
}

/** One `data:` payload of `/v1/chat/completions`, `[DONE]` excepted. Throws ChatFailure for an error in the stream. */
export function parseChunk(data: string): Delta {
  let chunk: Json;
  try {
    chunk = object(JSON.parse(data));
  } catch {
    throw new ChatFailure({ kind: 'server', message: data.slice(0, 200) });
  }
  if (chunk['error'] !== undefined && chunk['error'] !== null)
    throw new ChatFailure(failureFrom(0, chunk['error']));
  const choices = Array.isArray(chunk['choices']) ? (chunk['choices'] as unknown[]) : [];
  const choice = object(choices[0]);
  const delta = object(choice['delta']);
  const result: Delta = {
    content: text(delta['content']),
    // Servers send the thought under either name, some under both.
    reasoning: text(delta['reasoning']) || text(delta['reasoning_content']),
  };
  const finishReason = text(choice['finish_reason']);
  if (finishReason !== '') result.finishReason = finishReason;
  const usage = parseUsage(chunk['usage']);
  if (usage) result.usage = usage;
  return result;
}

/** The body of `/v1/models`. */
export function parseModels(body: unknown): ModelInfo[] {
  const list = object(body)['data'];
  if (!Array.isArray(list)) return [];
  return list.flatMap((entry: unknown) => {
    const id = text(object(entry)['id']);
    const maxModelLen = count(object(entry)['max_model_len']);
    if (id === '') return [];
    return [maxModelLen > 0 ? { id, maxModelLen } : { id }];
  });
}
