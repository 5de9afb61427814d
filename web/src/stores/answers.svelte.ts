import { SvelteMap } from 'svelte/reactivity';
import { branch, wireMessages, type Chat, type Message } from '../lib/chat';
import { ChatFailure, type Failure } from '../lib/failure';
import type { Delta } from '../lib/openai';
import { streamChat } from '../services/api';
import { chats } from './chats.svelte';
import { notices } from './notices.svelte';
import { server, untilReady } from './server.svelte';
import { settings, t } from './settings.svelte';

/** Arrived text reaches the screen about thirty times a second, however many tokens that is. */
const flushEveryMs = 33;

/** Text that arrived since the last flush. */
interface Pending {
  content: string;
  reasoning: string;
}

class AnswersStore {
  /** One running answer a chat, by the chat's id. */
  private readonly running = new SvelteMap<string, AbortController>();

  isRunning(chat: Chat | null): boolean {
    return chat !== null && this.running.has(chat.id);
  }

  send(text: string): void {
    const chat = chats.currentOrNew(text);
    if (this.running.has(chat.id)) return;
    const asked = chats.add(chat, userMessage(text, chat.head));
    this.answer(chat, asked.id);
  }

  /** A second version of the question, with an answer of its own. */
  resend(chat: Chat, message: Message, text: string): void {
    if (this.running.has(chat.id)) return;
    const asked = chats.add(chat, userMessage(text, message.parent));
    this.answer(chat, asked.id);
  }

  /** Another version of the answer; one that failed before its first word is replaced. */
  regenerate(chat: Chat, message: Message): void {
    if (this.running.has(chat.id)) return;
    const empty = message.content === '' && message.reasoning === '';
    if (empty) chat.messages = chat.messages.filter(({ id }) => id !== message.id);
    this.answer(chat, message.parent);
  }

  stop(chat: Chat | null): void {
    if (chat) this.running.get(chat.id)?.abort();
  }

  stopId(id: string): void {
    this.running.get(id)?.abort();
  }

  private answer(chat: Chat, parent: string | null): void {
    const model = server.model?.id ?? '';
    const message = chats.add(chat, {
      parent,
      role: 'assistant',
      content: '',
      reasoning: '',
      status: 'streaming',
      ...(model === '' ? {} : { model }),
    });
    const abort = new AbortController();
    this.running.set(chat.id, abort);
    chats.beginWriting(chat);
    void this.write(chat, message, abort.signal).finally(() => {
      this.running.delete(chat.id);
      chats.endWriting(chat);
    });
  }

  private async write(chat: Chat, message: Message, signal: AbortSignal): Promise<void> {
    for (;;) {
      const failure = await this.stream(chat, message, signal);
      if (!failure) return;
      message.failure = failure;
      if (failure.kind === 'loading' || failure.kind === 'unreachable') server.lost(failure.kind);
      if (failure.kind === 'key') server.lost('locked');
      const untouched = message.content === '' && message.reasoning === '';
      if (failure.kind !== 'loading' || !untouched) {
        message.status = failure.kind === 'cut' ? 'interrupted' : 'failed';
        notices.say(t('announceFailed'));
        return;
      }
      try {
        await untilReady(signal);
      } catch {
        delete message.failure;
        message.status = 'stopped';
        return;
      }
      delete message.failure;
    }
  }

  /** One attempt. Resolves to what went wrong; stopping it is not an error. */
  private async stream(chat: Chat, message: Message, signal: AbortSignal): Promise<Failure | undefined> {
    const { systemPrompt, temperature, topP, maxTokens } = settings.current;
    const history = branch(chat).filter(({ id }) => id !== message.id);
    const model = server.model?.id ?? message.model ?? '';
    if (model !== '') message.model = model;
    const writer = new Writer(message, () => {
      chats.save(chat);
    });
    try {
      const request = { model, messages: wireMessages(history, systemPrompt), temperature, topP, maxTokens };
      for await (const delta of streamChat(request, signal)) writer.take(delta);
      message.status = 'done';
      notices.say(t('announceDone'));
    } catch (error) {
      if (signal.aborted) {
        message.status = 'stopped';
        notices.say(t('announceStopped'));
      } else if (error instanceof ChatFailure) {
        return error.failure;
      } else {
        return { kind: 'server', message: String(error) };
      }
    } finally {
      writer.end();
    }
    return undefined;
  }
}

/** Collects what arrives and hands it to the message; keeps the times. */
class Writer {
  private pending: Pending = { content: '', reasoning: '' };
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly began = performance.now();
  private first = 0;
  private last = 0;

  constructor(
    private readonly message: Message,
    private readonly shown: () => void,
  ) {}

  take(delta: Delta): void {
    if (delta.usage) this.message.usage = delta.usage;
    if (delta.finishReason !== undefined) this.message.finishReason = delta.finishReason;
    if (delta.content === '' && delta.reasoning === '') return;
    this.last = performance.now();
    if (this.first === 0) {
      this.first = this.last;
      // From the message's own clock, so that a live "thinking" can be counted from it.
      this.message.firstTokenMs = Date.now() - this.message.createdAt;
      notices.say(t(delta.reasoning === '' ? 'announceAnswering' : 'announceThinking'));
    }
    if (delta.content.trim() !== '') this.endThought();
    this.pending.content += delta.content;
    this.pending.reasoning += delta.reasoning;
    this.schedule();
  }

  end(): void {
    this.flush();
    if (this.first === 0) return;
    this.endThought();
    this.message.generationMs = Math.round(this.last - this.first);
    this.message.firstTokenMs = Math.round(this.first - this.began);
  }

  private endThought(): void {
    const thought = this.message.reasoning !== '' || this.pending.reasoning !== '';
    if (!thought || this.message.thinkingMs !== undefined) return;
    this.message.thinkingMs = Math.round(this.last - this.first);
    notices.say(t('announceAnswering'));
  }

  private schedule(): void {
    // A timer, not an animation frame: an answer goes on arriving while the page is hidden.
    this.timer ??= setTimeout(() => {
      this.flush();
    }, flushEveryMs);
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const { content, reasoning } = this.pending;
    if (content === '' && reasoning === '') return;
    this.pending = { content: '', reasoning: '' };
    // A blank before the first word would only be a gap on the screen.
    this.message.content += this.message.content === '' ? content.trimStart() : content;
    this.message.reasoning += this.message.reasoning === '' ? reasoning.trimStart() : reasoning;
    this.shown();
  }
}

function userMessage(content: string, parent: string | null): Omit<Message, 'id' | 'createdAt'> {
  return { parent, role: 'user', content, reasoning: '', status: 'done' };
}

export const answers = new AnswersStore();
