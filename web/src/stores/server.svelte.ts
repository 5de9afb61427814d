import { ChatFailure } from '../lib/failure';
import type { ModelInfo } from '../lib/openai';
import { health, listModels, type Health } from '../services/api';
import { setKey } from '../services/key-storage';
import { settings } from './settings.svelte';

const pollMs = 1500;

class ServerStore {
  status = $state<Health | 'unknown'>('unknown');
  models = $state<ModelInfo[]>([]);
  /** The model that answers: the chosen one while the server still has it. */
  readonly model: ModelInfo | undefined = $derived(
    this.models.find(({ id }) => id === settings.current.model) ?? this.models[0],
  );
  /** A key was given and was not the right one. */
  wrongKey = $state(false);
  private watching: Promise<void> | undefined;
  private unlocked: (() => void) | undefined;

  /** Asks until the server is ready and its models are known. Calls share one loop. */
  watch(): Promise<void> {
    this.watching ??= this.poll().finally(() => {
      this.watching = undefined;
    });
    return this.watching;
  }

  private async poll(): Promise<void> {
    while (!(await this.ask())) {
      await new Promise<void>((resolve) => {
        if (this.status === 'locked') this.unlocked = resolve;
        else setTimeout(resolve, pollMs);
      });
    }
  }

  private async ask(): Promise<boolean> {
    const status = await health();
    if (status === 'ready') {
      try {
        this.models = await listModels();
      } catch (error) {
        if (error instanceof ChatFailure && error.failure.kind === 'key') {
          this.wrongKey = this.status === 'locked';
          this.status = 'locked';
        }
        return false;
      }
    }
    this.wrongKey = false;
    this.status = status;
    return status === 'ready';
  }

  /** Tries again with this key. */
  unlock(key: string): void {
    setKey(key);
    this.unlocked?.();
    this.unlocked = undefined;
  }

  /** A request failed in a way that says the server is not what it was. */
  lost(status: 'loading' | 'unreachable' | 'locked'): void {
    this.status = status;
    void this.watch();
  }
}

export const server = new ServerStore();

/** Resolves when the server is ready; rejects with the signal's reason when it aborts first. */
export function untilReady(signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    void server.watch().then(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
  });
}
