import type { Chat, ChatSummary } from '../lib/chat';
import { matches, newestFirst, summaryOf, type ChatRepository } from './chat-repository';

const summaries = 'summaries';
const chats = 'chats';

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => {
      resolve(request.result);
    };
    request.onerror = () => {
      reject(request.error ?? new Error('IndexedDB request failed'));
    };
  });
}

function committed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => {
      resolve();
    };
    transaction.onabort = transaction.onerror = () => {
      reject(transaction.error ?? new Error('IndexedDB transaction failed'));
    };
  });
}

/** Chats in this browser's IndexedDB. The list is a store of its own, so that a start reads no messages. */
export class IndexedChats implements ChatRepository {
  private constructor(private readonly database: IDBDatabase) {}

  static async open(name = 'carronade'): Promise<IndexedChats> {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(summaries, { keyPath: 'id' });
      request.result.createObjectStore(chats, { keyPath: 'id' });
    };
    const database = await settled(request);
    database.onversionchange = () => {
      database.close(); // a newer page in another tab wants to upgrade
    };
    return new IndexedChats(database);
  }

  async list(): Promise<ChatSummary[]> {
    const all = this.database.transaction(summaries).objectStore(summaries).getAll() as IDBRequest<
      ChatSummary[]
    >;
    return newestFirst(await settled(all));
  }

  async load(id: string): Promise<Chat | undefined> {
    const chat = this.database.transaction(chats).objectStore(chats).get(id) as IDBRequest<Chat | undefined>;
    return settled(chat);
  }

  async save(chat: Chat): Promise<void> {
    const transaction = this.database.transaction([summaries, chats], 'readwrite');
    transaction.objectStore(summaries).put(summaryOf(chat));
    transaction.objectStore(chats).put(chat);
    await committed(transaction);
  }

  async remove(id: string): Promise<void> {
    const transaction = this.database.transaction([summaries, chats], 'readwrite');
    transaction.objectStore(summaries).delete(id);
    transaction.objectStore(chats).delete(id);
    await committed(transaction);
  }

  search(query: string): Promise<string[]> {
    const found: string[] = [];
    const cursors = this.database.transaction(chats).objectStore(chats).openCursor();
    return new Promise((resolve, reject) => {
      cursors.onerror = () => {
        reject(cursors.error ?? new Error('IndexedDB search failed'));
      };
      cursors.onsuccess = () => {
        const cursor = cursors.result;
        if (!cursor) {
          resolve(found);
          return;
        }
        const chat = cursor.value as Chat;
        if (matches(chat, query)) found.push(chat.id);
        cursor.continue();
      };
    });
  }
}
