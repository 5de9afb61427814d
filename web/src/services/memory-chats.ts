import type { Chat, ChatSummary } from '../lib/chat';
import { matches, newestFirst, summaryOf, type ChatRepository } from './chat-repository';

/** Chats for as long as the page is open: what is left when a browser forbids storage. */
export class MemoryChats implements ChatRepository {
  private readonly chats = new Map<string, Chat>();

  list(): Promise<ChatSummary[]> {
    return Promise.resolve(newestFirst([...this.chats.values()].map(summaryOf)));
  }

  load(id: string): Promise<Chat | undefined> {
    const chat = this.chats.get(id);
    return Promise.resolve(chat && structuredClone(chat));
  }

  save(chat: Chat): Promise<void> {
    this.chats.set(chat.id, structuredClone(chat));
    return Promise.resolve();
  }

  remove(id: string): Promise<void> {
    this.chats.delete(id);
    return Promise.resolve();
  }

  search(query: string): Promise<string[]> {
    return Promise.resolve(
      [...this.chats.values()].filter((chat) => matches(chat, query)).map(({ id }) => id),
    );
  }
}
