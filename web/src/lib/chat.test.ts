import { describe, expect, it } from 'vitest';
import {
  afterReload,
  branch,
  newestLeaf,
  siblings,
  titleFrom,
  wireMessages,
  type Chat,
  type Message,
} from './chat';

function message(id: string, parent: string | null, role: 'user' | 'assistant', content = id): Message {
  return { id, parent, role, content, reasoning: '', status: 'done', createdAt: 0 };
}

/** u1 ─ a1 ─ u2 ─ a2, with a second answer a1b to u1 and a second question u2b behind a1. */
const chat: Chat = {
  id: 'c',
  title: '',
  createdAt: 0,
  updatedAt: 0,
  head: 'a2',
  messages: [
    message('u1', null, 'user'),
    message('a1', 'u1', 'assistant'),
    message('u2', 'a1', 'user'),
    message('a2', 'u2', 'assistant'),
    message('a1b', 'u1', 'assistant'),
    message('u2b', 'a1', 'user'),
  ],
};
const ids = (messages: Message[]) => messages.map(({ id }) => id);
const at = (id: string) => {
  const found = chat.messages.find((candidate) => candidate.id === id);
  if (!found) throw new Error(id);
  return found;
};

describe('the tree of a chat', () => {
  it('shows the branch that ends in its head', () => {
    expect(ids(branch(chat))).toEqual(['u1', 'a1', 'u2', 'a2']);
    expect(ids(branch({ ...chat, head: 'a1b' }))).toEqual(['u1', 'a1b']);
    expect(branch({ ...chat, head: null })).toEqual([]);
  });

  it('ends on a damaged record: a missing parent, or a ring', () => {
    expect(ids(branch({ head: 'x', messages: [message('x', 'gone', 'user')] }))).toEqual(['x']);
    const ring = [message('x', 'y', 'user'), message('y', 'x', 'assistant')];
    expect(ids(branch({ head: 'x', messages: ring }))).toEqual(['y', 'x']);
  });

  it('knows the versions of a turn and where each leads', () => {
    expect(ids(siblings(chat, at('a1')))).toEqual(['a1', 'a1b']);
    expect(ids(siblings(chat, at('u1')))).toEqual(['u1']);
    expect(newestLeaf(chat, at('a1')).id).toBe('u2b');
    expect(newestLeaf(chat, at('u2')).id).toBe('a2');
    expect(newestLeaf(chat, at('a1b')).id).toBe('a1b');
  });
});

describe('wireMessages', () => {
  it('sends answers without thoughts, leaves out empty ones, and puts the instructions first', () => {
    const path = [
      message('u', null, 'user', 'Hi'),
      { ...message('a', 'u', 'assistant', 'Hello'), reasoning: 'secret' },
      message('v', 'a', 'user', 'More'),
      { ...message('b', 'v', 'assistant', ' \n'), reasoning: 'only thought' },
    ];
    expect(wireMessages(path, 'Be brief.')).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Hello' },
      { role: 'user', content: 'More' },
    ]);
    expect(wireMessages(path, '  ')[0]?.role).toBe('user');
  });
});

describe('titleFrom', () => {
  it.each([
    ['Hello', 'Hello'],
    ['\n\n  **How** do `I`\nsecond line', 'How do I'],
    ['```python\nprint(1)\n```', 'print(1)'],
    ['', ''],
    ['word '.repeat(30), 'word word word word word word word word word…'],
    ['长'.repeat(60), '长'.repeat(48) + '…'],
    ['🚢'.repeat(60), '🚢'.repeat(48) + '…'],
  ])('%j → %j', (text, title) => {
    expect(titleFrom(text)).toBe(title);
  });
});

it('a reload interrupts what was being written and nothing else', () => {
  const writing: Chat = { ...chat, messages: [at('u1'), { ...at('a1'), status: 'streaming' }] };
  expect(afterReload(writing).messages.map(({ status }) => status)).toEqual(['done', 'interrupted']);
});
