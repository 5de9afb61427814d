import type { Failure } from './failure';

export type Role = 'user' | 'assistant';

/** `interrupted`: the page went away, or the connection broke, before the answer's end. */
export type MessageStatus = 'done' | 'streaming' | 'stopped' | 'interrupted' | 'failed';

export interface Usage {
  promptTokens: number;
  completionTokens: number;
  reasoningTokens: number;
  cachedTokens: number;
}

export interface Message {
  id: string;
  /** The message this one follows; null for a chat's first. Siblings are other versions of the same turn. */
  parent: string | null;
  role: Role;
  content: string;
  /** The model's thoughts: shown, kept, never sent back. */
  reasoning: string;
  status: MessageStatus;
  createdAt: number;
  model?: string;
  /** Milliseconds spent thinking; present once the thought has ended. */
  thinkingMs?: number;
  firstTokenMs?: number;
  /** Milliseconds from the first token to the last. */
  generationMs?: number;
  finishReason?: string;
  usage?: Usage;
  failure?: Failure;
}

export interface Chat {
  id: string;
  title: string;
  createdAt: number;
  updatedAt: number;
  messages: Message[];
  /** The last message of the branch that is shown. */
  head: string | null;
}

export type ChatSummary = Pick<Chat, 'id' | 'title' | 'createdAt' | 'updatedAt'>;

/** The messages from the first to `chat.head`. */
export function branch(chat: Pick<Chat, 'messages' | 'head'>): Message[] {
  const byId = new Map(chat.messages.map((message) => [message.id, message]));
  const path: Message[] = [];
  for (let at = chat.head === null ? undefined : byId.get(chat.head); at;) {
    path.push(at);
    byId.delete(at.id); // a damaged record with a ring ends here
    at = at.parent === null ? undefined : byId.get(at.parent);
  }
  return path.reverse();
}

/** The versions of the same turn, oldest first. */
export function siblings(chat: Pick<Chat, 'messages'>, message: Message): Message[] {
  return chat.messages.filter((other) => other.parent === message.parent && other.role === message.role);
}

/** The newest end of the branches that go through `message`. */
export function newestLeaf(chat: Pick<Chat, 'messages'>, message: Message): Message {
  let leaf = message;
  for (;;) {
    const next = chat.messages.filter((other) => other.parent === leaf.id).at(-1);
    if (!next) return leaf;
    leaf = next;
  }
}

export interface WireMessage {
  role: 'system' | Role;
  content: string;
}

/** What the model gets: the answers without their thoughts; an answer that never had any text is left out. */
export function wireMessages(path: Message[], systemPrompt: string): WireMessage[] {
  const system: WireMessage[] = systemPrompt.trim() === '' ? [] : [{ role: 'system', content: systemPrompt }];
  const turns = path.filter((message) => message.role === 'user' || message.content.trim() !== '');
  return [...system, ...turns.map(({ role, content }): WireMessage => ({ role, content }))];
}

const longestTitle = 48;

/** A chat's name, taken from its first message: no model is asked. */
export function titleFrom(text: string): string {
  const plain = text
    .replace(/```[^\n]*\n?/g, ' ')
    .replace(/[*_`#>]+/g, '')
    .split('\n')
    .map((line) => line.trim())
    .find((line) => line !== '');
  const line = (plain ?? '').replace(/\s+/g, ' ');
  const characters = [...line];
  if (characters.length <= longestTitle) return line;
  const cut = characters.slice(0, longestTitle).join('');
  const blank = cut.lastIndexOf(' ');
  return (blank > longestTitle / 2 ? cut.slice(0, blank) : cut).trimEnd() + '…';
}

/** A chat as it is after a reload: what was still being written had been cut off. */
export function afterReload(chat: Chat): Chat {
  const messages = chat.messages.map((message) =>
    message.status === 'streaming' ? { ...message, status: 'interrupted' as const } : message,
  );
  return { ...chat, messages };
}
