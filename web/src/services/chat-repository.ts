import type { Chat, ChatSummary } from '../lib/chat';

/** Where chats are kept. Every method may reject when the storage behind it fails. */
export interface ChatRepository {
  /** Newest first. */
  list(): Promise<ChatSummary[]>;
  load(id: string): Promise<Chat | undefined>;
  save(chat: Chat): Promise<void>;
  remove(id: string): Promise<void>;
  /** Ids of the chats whose title or messages contain every word of the query. */
  search(query: string): Promise<string[]>;
}

export function summaryOf({ id, title, createdAt, updatedAt }: Chat): ChatSummary {
  return { id, title, createdAt, updatedAt };
}

export function newestFirst(chats: ChatSummary[]): ChatSummary[] {
  return chats.sort((a, b) => b.updatedAt - a.updatedAt);
}

export function matches(chat: Chat, query: string): boolean {
  const text = [chat.title, ...chat.messages.map((message) => message.content)]
    .join('\n')
    .toLocaleLowerCase();
  return query
    .toLocaleLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
