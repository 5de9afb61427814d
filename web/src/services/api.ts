import type { WireMessage } from '../lib/chat';
import { ChatFailure, failureFrom } from '../lib/failure';
import { parseChunk, parseModels, type Delta, type ModelInfo } from '../lib/openai';
import { SseParser } from '../lib/sse';
import { authorization } from './key-storage';

export type Health = 'ready' | 'loading' | 'unreachable' | 'locked';

export interface ChatRequest {
  model: string;
  messages: WireMessage[];
  temperature: number | null;
  topP: number | null;
  maxTokens: number | null;
}

export async function health(signal?: AbortSignal): Promise<Health> {
  try {
    const response = await fetch('/health', { cache: 'no-store', ...(signal ? { signal } : {}) });
    if (response.ok) return 'ready';
    return response.status === 503 ? 'loading' : 'unreachable';
  } catch {
    return 'unreachable';
  }
}

/** Throws ChatFailure. */
export async function listModels(): Promise<ModelInfo[]> {
  const response = await request('/v1/models', { cache: 'no-store' });
  return parseModels(await response.json());
}

/**
 * Streams one answer. Aborting the signal closes the connection, which frees the model; the generator then throws the
 * signal's AbortError. Every other failure is a ChatFailure.
 */
export async function* streamChat(chat: ChatRequest, signal: AbortSignal): AsyncGenerator<Delta, void, void> {
  const response = await request('/v1/chat/completions', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Accept: 'text/event-stream' },
    body: JSON.stringify({
      model: chat.model,
      messages: chat.messages,
      stream: true,
      stream_options: { include_usage: true },
      ...(chat.temperature === null ? {} : { temperature: chat.temperature }),
      ...(chat.topP === null ? {} : { top_p: chat.topP }),
      ...(chat.maxTokens === null ? {} : { max_tokens: chat.maxTokens }),
    }),
    signal,
  });
  if (!response.body) throw new ChatFailure({ kind: 'cut', message: '' });
  const reader = response.body.getReader();
  const parser = new SseParser();
  let finished = false;
  try {
    for (;;) {
      const { done, value } = await read(reader, signal);
      if (done) break;
      for (const { data } of parser.push(value)) {
        if (data === '[DONE]') return;
        const delta = parseChunk(data);
        finished ||= delta.finishReason !== undefined;
        yield delta;
      }
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
  if (!finished) throw new ChatFailure({ kind: 'cut', message: '' });
}

async function read(reader: ReadableStreamDefaultReader<Uint8Array>, signal: AbortSignal) {
  try {
    return await reader.read();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ChatFailure({ kind: 'cut', message: '' });
  }
}

async function request(
  path: string,
  init: RequestInit & { headers?: Record<string, string> },
): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers: { ...init.headers, ...authorization() } });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ChatFailure({ kind: 'unreachable', message: '' });
  }
  if (response.ok) return response;
  const body: unknown = await response.json().catch(() => null);
  const error = typeof body === 'object' && body !== null ? (body as { error?: unknown }).error : undefined;
  throw new ChatFailure(failureFrom(response.status, error));
}
