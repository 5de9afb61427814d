/** Why an answer failed, as far as the page can help with it. */
export type FailureKind =
  'key' | 'unreachable' | 'loading' | 'busy' | 'context' | 'refused' | 'server' | 'cut';

export interface Failure {
  kind: FailureKind;
  /** The server's own words; empty when it had none. */
  message: string;
}

export class ChatFailure extends Error {
  constructor(readonly failure: Failure) {
    super(failure.message || failure.kind);
    this.name = 'ChatFailure';
  }
}

interface ErrorBody {
  message?: unknown;
  type?: unknown;
  code?: unknown;
}

/** The `error` object of an OpenAI-style answer, with the HTTP status it came with (0: inside a stream). */
export function failureFrom(status: number, error: unknown): Failure {
  const body: ErrorBody = typeof error === 'object' && error !== null ? error : {};
  const message = typeof body.message === 'string' ? body.message : typeof error === 'string' ? error : '';
  return { kind: kindOf(status || Number(body.code) || 0, body, message), message };
}

function kindOf(status: number, body: ErrorBody, message: string): FailureKind {
  const names = `${String(body.type)} ${String(body.code)}`;
  if (/context_length/.test(names) || /maximum context length|context window|max_model_len/i.test(message)) {
    return 'context';
  }
  if (status === 401) return 'key';
  if (status === 503) return 'loading';
  if (status === 429) return 'busy';
  if (status === 502 || status === 504) return 'unreachable';
  if (status >= 400 && status < 500) return 'refused';
  return 'server';
}
