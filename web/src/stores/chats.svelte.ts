import { afterReload, newestLeaf, titleFrom, type Chat, type ChatSummary, type Message } from '../lib/chat';
import { newId } from '../lib/id';
import { newestFirst, summaryOf, type ChatRepository } from '../services/chat-repository';
import { IndexedChats } from '../services/indexed-chats';
import { MemoryChats } from '../services/memory-chats';
import { joinTabs, type Tabs } from '../services/tabs';
import { notices } from './notices.svelte';
import { t } from './settings.svelte';

const saveEveryMs = 400;
/** A chat that another tab writes is saved at least this often; past it, that tab is gone. */
const otherTabSilentMs = 5000;

class ChatsStore {
  summaries = $state<ChatSummary[]>([]);
  /** The chat on the screen; null is a new one that has no message yet. */
  current = $state<Chat | null>(null);
  ready = $state(false);

  private repository: ChatRepository = new MemoryChats();
  private tabs: Tabs | undefined;
  /** Chats this page is writing an answer into: they live here even while another chat is shown. */
  private readonly writing = new Map<string, Chat>();
  private readonly unsaved = new Map<string, { chat: Chat; timer: ReturnType<typeof setTimeout> }>();
  private readonly removed = new Set<string>();
  private silence: ReturnType<typeof setTimeout> | undefined;

  /** Opens the storage, and the chat the page's address names. */
  async start(id: string | undefined): Promise<void> {
    try {
      this.repository = await IndexedChats.open();
    } catch {
      notices.show(t('failedSave'));
    }
    this.summaries = await this.repository.list();
    this.tabs = joinTabs((id) => void this.changedElsewhere(id));
    if (id !== undefined) await this.open(id);
    this.ready = true;
  }

  async open(id: string): Promise<void> {
    if (this.current?.id === id) return;
    const stored = this.writing.get(id) ?? (await this.repository.load(id));
    this.current = stored ? (this.writing.get(id) ?? afterReload(stored)) : null;
  }

  close(): void {
    this.current = null;
  }

  /** The chat on the screen, made now if it is a new one. */
  currentOrNew(firstText: string): Chat {
    if (this.current) return this.current;
    const now = Date.now();
    const title = titleFrom(firstText);
    this.current = { id: newId(), title, createdAt: now, updatedAt: now, messages: [], head: null };
    return this.current;
  }

  /** Adds a message behind `parent` and shows its branch. Returns the reactive message. */
  add(chat: Chat, message: Omit<Message, 'id' | 'createdAt'>): Message {
    const now = Date.now();
    const id = newId();
    chat.messages.push({ ...message, id, createdAt: now });
    chat.head = id;
    chat.updatedAt = now;
    const added = chat.messages.at(-1);
    if (!added) throw new Error('a message was pushed');
    return added;
  }

  show(chat: Chat, message: Message): void {
    chat.head = newestLeaf(chat, message).id;
    this.save(chat);
  }

  beginWriting(chat: Chat): void {
    this.writing.set(chat.id, chat);
    void this.saveNow(chat);
  }

  endWriting(chat: Chat): void {
    this.writing.delete(chat.id);
    void this.saveNow(chat);
  }

  /** Saves within `saveEveryMs`. */
  save(chat: Chat): void {
    if (this.unsaved.has(chat.id)) return;
    const timer = setTimeout(() => void this.saveNow(chat), saveEveryMs);
    this.unsaved.set(chat.id, { chat, timer });
  }

  /** Saves what still waits: the page is about to go away. */
  flush(): void {
    for (const { chat } of this.unsaved.values()) void this.saveNow(chat);
  }

  rename(id: string, title: string): void {
    void this.edit(id, (chat) => (chat.title = title.trim() || chat.title));
  }

  async remove(id: string): Promise<void> {
    const chat = await this.repository.load(id);
    const wasOpen = this.current?.id === id;
    this.forget(id);
    await this.repository.remove(id);
    this.tabs?.announce(id);
    if (!chat) return;
    const restore = async () => {
      this.removed.delete(id);
      await this.saveNow(afterReload(chat));
      if (wasOpen) await this.open(id);
    };
    notices.show(t('deleted'), { label: t('undo'), run: () => void restore() });
  }

  search(query: string): Promise<string[]> {
    return this.repository.search(query);
  }

  private forget(id: string): void {
    this.removed.add(id); // an answer that is just being stopped must not save it again
    clearTimeout(this.unsaved.get(id)?.timer);
    this.unsaved.delete(id);
    this.writing.delete(id);
    this.summaries = this.summaries.filter((summary) => summary.id !== id);
    if (this.current?.id === id) this.current = null;
  }

  private async edit(id: string, change: (chat: Chat) => void): Promise<void> {
    const inMemory = this.writing.get(id) ?? (this.current?.id === id ? this.current : undefined);
    const chat = inMemory ?? (await this.repository.load(id));
    if (!chat) return;
    change(chat);
    await this.saveNow(chat);
  }

  private async saveNow(chat: Chat): Promise<void> {
    clearTimeout(this.unsaved.get(chat.id)?.timer);
    this.unsaved.delete(chat.id);
    if (this.removed.has(chat.id)) return;
    const plain = $state.snapshot(chat) as Chat;
    const others = this.summaries.filter(({ id }) => id !== chat.id);
    this.summaries = newestFirst([...others, summaryOf(plain)]);
    try {
      await this.repository.save(plain);
      this.tabs?.announce(chat.id);
    } catch {
      notices.show(t('failedWrite'));
    }
  }

  private async changedElsewhere(id: string): Promise<void> {
    if (this.writing.has(id)) return;
    this.summaries = await this.repository.list();
    if (this.current?.id !== id) return;
    const chat = await this.repository.load(id);
    this.current = chat ?? null;
    clearTimeout(this.silence);
    this.silence = setTimeout(() => {
      const shown = this.current;
      if (shown?.id === id && !this.writing.has(id))
        this.current = afterReload($state.snapshot(shown) as Chat);
    }, otherTabSilentMs);
  }
}

export const chats = new ChatsStore();
