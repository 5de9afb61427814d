import 'fake-indexeddb/auto';
import { describe, expect, it } from 'vitest';
import type { Chat } from '../lib/chat';
import type { ChatRepository } from './chat-repository';
import { IndexedChats } from './indexed-chats';
import { MemoryChats } from './memory-chats';

function chat(id: string, updatedAt: number, ...texts: string[]): Chat {
  const messages = texts.map((content, index) => ({
    id: `${id}${String(index)}`,
    parent: null,
    role: 'user' as const,
    content,
    reasoning: '',
    status: 'done' as const,
    createdAt: 0,
  }));
  return { id, title: `Title ${id}`, createdAt: 0, updatedAt, messages, head: null };
}

let databases = 0;
const kinds: [string, () => Promise<ChatRepository>][] = [
  ['MemoryChats', () => Promise.resolve(new MemoryChats())],
  ['IndexedChats', () => IndexedChats.open(`test-${String(databases++)}`)],
];

describe.each(kinds)('%s', (_name, open) => {
  it('gives back what was saved, newest first', async () => {
    const chats = await open();
    await chats.save(chat('a', 1, 'x'));
    await chats.save(chat('b', 3, 'y'));
    await chats.save(chat('c', 2, 'z'));
    expect((await chats.list()).map(({ id }) => id)).toEqual(['b', 'c', 'a']);
    expect((await chats.list())[0]).not.toHaveProperty('messages');
    expect(await chats.load('a')).toEqual(chat('a', 1, 'x'));
    expect(await chats.load('none')).toBeUndefined();
  });

  it('saving again replaces, and later changes of the object do not reach in', async () => {
    const chats = await open();
    const mine = chat('a', 1, 'x');
    await chats.save(mine);
    mine.title = 'changed';
    expect((await chats.load('a'))?.title).toBe('Title a');
    await chats.save({ ...mine, updatedAt: 9 });
    expect(await chats.list()).toEqual([{ id: 'a', title: 'changed', createdAt: 0, updatedAt: 9 }]);
  });

  it('removes from the list and the store', async () => {
    const chats = await open();
    await chats.save(chat('a', 1));
    await chats.remove('a');
    expect([await chats.list(), await chats.load('a')]).toEqual([[], undefined]);
    await chats.remove('a');
  });

  it('finds all words, in titles and messages, in any case', async () => {
    const chats = await open();
    await chats.save(chat('a', 1, 'Boil an EGG', 'gently'));
    await chats.save(chat('b', 2, '煮鸡蛋'));
    expect(await chats.search('egg gently')).toEqual(['a']);
    expect(await chats.search('鸡蛋')).toEqual(['b']);
    expect((await chats.search('title')).sort()).toEqual(['a', 'b']);
    expect(await chats.search('bread')).toEqual([]);
  });
});

it('IndexedChats keeps chats when it is opened again', async () => {
  await (await IndexedChats.open('again')).save(chat('a', 1, 'x'));
  expect(await (await IndexedChats.open('again')).load('a')).toEqual(chat('a', 1, 'x'));
});
