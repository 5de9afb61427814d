// How the page behaves, against a stand-in server whose answers each test writes itself.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { button, closePage, composer, lastAnswer, launch, newTab, openPage, send } from './browser.mjs';
import { StandIn } from './stand-in.mjs';

let browser;
let standIn;
let page;

before(async () => {
  browser = await launch();
});
after(() => browser.close());
beforeEach(async () => {
  standIn = await StandIn.start();
  page = await openPage(browser, standIn.url);
  await page.getByText('qwen2.5-coder-1.5b').first().waitFor();
});
afterEach(async () => {
  await closePage(page);
  await standIn.stop();
});

const text = (locator) => locator.innerText();
const has = (wanted) => page.getByText(wanted).first().waitFor();

async function ask(question, reply, thought = '') {
  await send(page, question);
  const answer = await standIn.next();
  answer.begin();
  if (thought) answer.think(thought);
  answer.say(reply);
  answer.end();
  await button(lastAnswer(page), 'Write again').waitFor();
  return answer;
}

/** The chat as the page stored it, to wait for a save without guessing its time. */
function storedText() {
  return page.evaluate(async () => {
    const database = await new Promise((resolve) => {
      const open = indexedDB.open('carronade');
      open.onsuccess = () => resolve(open.result);
    });
    const chats = await new Promise((resolve) => {
      const all = database.transaction('chats').objectStore('chats').getAll();
      all.onsuccess = () => resolve(all.result);
    });
    database.close();
    return JSON.stringify(chats);
  });
}

async function untilStored(wanted) {
  for (const end = Date.now() + 10_000; Date.now() < end;) if ((await storedText()).includes(wanted)) return;
  assert.fail(`never stored: ${wanted}`);
}

describe('first load', () => {
  it('takes at most 15 requests, all to its own origin, and less than 250 kB', async () => {
    const fresh = await openPage(browser, 'about:blank');
    const requests = [];
    fresh.on('requestfinished', (request) => requests.push(request));
    await fresh.goto(standIn.url, { waitUntil: 'networkidle' });
    const sizes = await Promise.all(requests.map((request) => request.sizes()));
    const bytes = sizes.reduce((sum, { responseBodySize }) => sum + responseBodySize, 0);
    assert.ok(requests.length >= 4 && requests.length <= 15, requests.map((r) => r.url()).join('\n'));
    assert.ok(requests.every((request) => request.url().startsWith(standIn.url)));
    assert.ok(bytes > 50_000 && bytes < 250_000, `${bytes} bytes`);
    console.log(`first load: ${requests.length} requests, ${bytes} bytes`);
    await closePage(fresh);
  });

  it('names the model, offers prompts, and is ready to type', async () => {
    assert.equal(
      await page.getByRole('list', { name: 'Ideas to start with' }).getByRole('button').count(),
      4,
    );
    assert.equal(await composer(page).evaluate((box) => box === document.activeElement), true);
  });

  it('sends a starter prompt at a click', async () => {
    await page.getByRole('button', { name: /Write a function/ }).click();
    const answer = await standIn.next();
    answer.end();
    assert.match(standIn.requests[0].messages[0].content, /merges two sorted lists/);
  });
});

describe('an answer', () => {
  it('is asked for as the API wants it', async () => {
    await ask('Hello', 'Hi!');
    assert.deepEqual(standIn.requests[0], {
      model: 'qwen2.5-coder-1.5b',
      messages: [{ role: 'user', content: 'Hello' }],
      stream: true,
      stream_options: { include_usage: true },
    });
  });

  it('appears piece by piece', async () => {
    await send(page, 'Count');
    const answer = await standIn.next();
    answer.begin();
    answer.say('one ');
    await has('one');
    answer.say('**two** ');
    await lastAnswer(page).locator('strong', { hasText: 'two' }).waitFor();
    assert.equal(await button(page, 'Stop').isVisible(), true);
    answer.end();
    await button(page, 'Send').waitFor();
  });

  it('shows its tokens and their speed', async () => {
    await ask('Hello', 'Hi!');
    await has(/142 tokens/);
    const title = await page.getByText(/142 tokens/).getAttribute('title');
    assert.match(title, /Prompt 21 tokens, 16 of them cached · thinking 40 tokens/);
  });

  it('keeps unchanged nodes while it grows, so that a selection survives', async () => {
    await send(page, 'Hello');
    const answer = await standIn.next();
    answer.begin();
    answer.say('First paragraph.\n\nSecond');
    await has('Second');
    await page.evaluate(() => {
      const paragraphs = document.querySelectorAll('.prose p');
      globalThis.kept = [...paragraphs];
      getSelection().selectAllChildren(paragraphs[1]);
    });
    answer.say(' paragraph\n\nThird');
    await has('Third');
    const same = await page.evaluate(() => {
      const now = document.querySelectorAll('.prose p');
      return [globalThis.kept[0] === now[0], globalThis.kept[1] === now[1], getSelection().toString()];
    });
    assert.deepEqual(same.slice(0, 2), [true, true]);
    assert.match(same[2], /Second/);
    answer.end();
  });

  it('says so when it reached its length limit, or came empty', async () => {
    await send(page, 'Hello');
    let answer = await standIn.next();
    answer.say('and so on');
    answer.end('length');
    await has('The answer reached its length limit.');
    await send(page, 'Again');
    answer = await standIn.next();
    answer.think('Nothing to say.');
    answer.end();
    await has('The model ended without an answer.');
  });

  it('goes on when another chat is opened, and is there on return', async () => {
    await send(page, 'First chat');
    const answer = await standIn.next();
    answer.begin();
    answer.say('alpha ');
    await has('alpha');
    await page.keyboard.press('Control+Shift+O');
    await has('What shall we work out?');
    answer.say('omega');
    answer.end();
    await page.getByRole('link', { name: 'First chat' }).click();
    await has('alpha omega');
  });
});

describe('thinking', () => {
  it('is folded, counts live, opens to the stream, and folds when the answer starts', async () => {
    await send(page, 'Think');
    const answer = await standIn.next();
    answer.begin();
    answer.think('Let me see');
    const details = page.locator('details.thinking');
    await details.locator('summary', { hasText: /Thinking… \d+ s/ }).waitFor();
    assert.equal(await details.getAttribute('open'), null);
    await details.locator('summary', { hasText: /Thinking… [1-9]\d* s/ }).waitFor(); // it counts
    await details.locator('summary').click();
    await has('Let me see');
    answer.think(', step by step');
    await has('Let me see, step by step');
    answer.say('Done.');
    await details.locator('summary', { hasText: /Thought for \d+ s/ }).waitFor();
    await page.waitForFunction(() => !document.querySelector('details.thinking').open);
    answer.end();
    await details.locator('summary').press('Enter'); // still there for who wants to read it
    await has('Let me see, step by step');
  });

  it('is not sent back in the next turn', async () => {
    await ask('One', 'The answer', 'The secret thought');
    await ask('Two', 'Next');
    assert.deepEqual(standIn.requests[1].messages, [
      { role: 'user', content: 'One' },
      { role: 'assistant', content: 'The answer' },
      { role: 'user', content: 'Two' },
    ]);
  });

  it('is shown once when a server sends it under only one of its two names', async () => {
    await send(page, 'Think');
    const answer = await standIn.next();
    answer.chunk({ reasoning_content: 'only this name' });
    await page.locator('details.thinking summary').click();
    await has('only this name');
    answer.end();
  });
});

describe('stopping', () => {
  for (const [how, stop] of [
    ['the button', () => button(page, 'Stop').click()],
    ['Esc', () => page.keyboard.press('Escape')],
  ]) {
    it(`with ${how} closes the connection and keeps what had arrived`, async () => {
      await send(page, 'Hello');
      const answer = await standIn.next();
      answer.begin();
      answer.say('half an ans');
      await has('half an ans');
      await stop();
      assert.equal(await answer.abandoned, true);
      await has('Stopped');
      await has('half an ans');
      await ask('Go on', 'Sure');
      assert.equal(standIn.requests[1].messages[1].content, 'half an ans');
    });
  }

  it('works before the first token', async () => {
    await send(page, 'Hello');
    const answer = await standIn.next();
    await page.keyboard.press('Escape');
    assert.equal(await answer.abandoned, true);
    await has('Stopped');
  });
});

describe('versions', () => {
  it('writing again keeps the earlier answer, one click away', async () => {
    await ask('Hello', 'first answer');
    await button(page, 'Write again').click();
    const answer = await standIn.next();
    answer.say('second answer');
    answer.end();
    await has('second answer');
    assert.equal(standIn.requests[1].messages.length, 1);
    assert.equal(await page.getByText('first answer').count(), 0);
    await button(page, 'Previous version').click();
    await has('first answer');
    await button(page, 'Next version').click();
    await has('second answer');
  });

  it('editing a message asks again from there and keeps the earlier branch', async () => {
    await ask('Red', 'Red it is');
    await ask('More', 'More red');
    await page.locator('article').first().hover();
    await page.locator('article').first().getByRole('button', { name: 'Edit' }).click();
    await page.getByLabel('Edit message').fill('Blue');
    await page.keyboard.press('Enter');
    const answer = await standIn.next();
    answer.say('Blue it is');
    answer.end();
    await has('Blue it is');
    assert.deepEqual(standIn.requests[2].messages, [{ role: 'user', content: 'Blue' }]);
    assert.equal(await page.getByText('More red').count(), 0);
    await page.locator('article').first().hover();
    await button(page.locator('article').first(), 'Previous version').click();
    await has('More red');
  });

  it('Esc leaves the edit as it was', async () => {
    await ask('Red', 'Red it is');
    await page.locator('article').first().hover();
    await page.locator('article').first().getByRole('button', { name: 'Edit' }).click();
    await page.getByLabel('Edit message').fill('Blue');
    await page.keyboard.press('Escape');
    await page.locator('article').first().getByText('Red').waitFor();
    assert.equal(standIn.requests.length, 1);
  });
});

describe('the composer', () => {
  it('Shift+Enter breaks the line, Enter sends, blank text is not sent', async () => {
    await composer(page).fill('  ');
    await composer(page).press('Enter');
    await composer(page).fill('one');
    await composer(page).press('Shift+Enter');
    await composer(page).pressSequentially('two');
    await composer(page).press('Enter');
    (await standIn.next()).end();
    assert.equal(standIn.requests.length, 1);
    assert.equal(standIn.requests[0].messages[0].content, 'one\ntwo');
    assert.equal(await composer(page).inputValue(), '');
  });

  it('Enter picks a candidate while an input method composes, and does not send', async () => {
    const client = await page.context().newCDPSession(page);
    await composer(page).focus();
    await client.send('Input.imeSetComposition', {
      text: 'nihao',
      selectionStart: 5,
      selectionEnd: 5,
    });
    const key = { key: 'Process', code: 'Enter', windowsVirtualKeyCode: 229 };
    await client.send('Input.dispatchKeyEvent', { type: 'rawKeyDown', ...key });
    // What Chromium reports on platforms that name the key: composing, but "Enter".
    await composer(page).evaluate((box) =>
      box.dispatchEvent(
        new KeyboardEvent('keydown', {
          key: 'Enter',
          isComposing: true,
          bubbles: true,
          cancelable: true,
        }),
      ),
    );
    await client.send('Input.insertText', { text: '你好' });
    assert.equal(await composer(page).inputValue(), '你好');
    assert.equal(await page.locator('article').count(), 0);
    await composer(page).press('Enter');
    (await standIn.next()).end();
    assert.deepEqual(
      standIn.requests.map((request) => request.messages[0].content),
      ['你好'],
    );
  });

  it('keeps the focus after sending and does not send twice', async () => {
    await send(page, 'Hello');
    const answer = await standIn.next();
    await composer(page).fill('next');
    await composer(page).press('Enter');
    assert.equal(await composer(page).inputValue(), 'next');
    assert.equal(await composer(page).evaluate((box) => box === document.activeElement), true);
    answer.end();
    assert.equal(standIn.requests.length, 1);
  });
});

describe('scrolling', () => {
  const lines = Array.from({ length: 80 }, (_, i) => `Line ${i}.\n\n`).join('');
  const distance = () =>
    page.locator('.conversation').evaluate((s) => s.scrollHeight - s.scrollTop - s.clientHeight);

  it('follows the end only while the reader is there', async () => {
    await send(page, 'Hello');
    const answer = await standIn.next();
    answer.begin();
    answer.say(lines);
    await has('Line 79.');
    await page.waitForFunction(() => {
      const s = document.querySelector('.conversation');
      return s.scrollHeight - s.scrollTop - s.clientHeight < 4;
    });
    await page.locator('.conversation').hover();
    await page.mouse.wheel(0, -600);
    const jump = page.getByRole('button', { name: 'Jump to the latest' });
    await jump.waitFor();
    const top = await page.locator('.conversation').evaluate((s) => s.scrollTop);
    answer.say('One more.\n\n'.repeat(20));
    await has('One more.');
    assert.equal(await page.locator('.conversation').evaluate((s) => s.scrollTop), top);
    await jump.click();
    await jump.waitFor({ state: 'detached' });
    answer.say('The very end.');
    await has('The very end.');
    await page.waitForFunction(() => {
      const s = document.querySelector('.conversation');
      return s.scrollHeight - s.scrollTop - s.clientHeight < 4;
    });
    assert.ok((await distance()) < 4);
    answer.end();
  });
});

describe('failures', () => {
  it('a server that is gone: a card, and Retry works once it is back', async () => {
    await standIn.stop();
    await send(page, 'Hello');
    await page.getByRole('alert').getByText('The server does not answer').waitFor();
    await page.getByRole('status').getByText('No connection to the server').waitFor();
    await standIn.restart();
    await button(page, 'Retry').click();
    const answer = await standIn.next();
    answer.say('Back again');
    answer.end();
    await has('Back again');
    assert.equal(await page.getByRole('alert').count(), 0);
    assert.equal(standIn.requests[0].messages.length, 1);
    await page.getByText('No connection to the server').waitFor({ state: 'detached' });
  });

  it('a model that still loads: says so and sends by itself when it is ready', async () => {
    standIn.healthy = false;
    await send(page, 'Hello');
    (await standIn.next()).refuse(503, { message: 'loading' });
    await has('Your message is sent by itself as soon as the model is ready.');
    assert.equal(await page.getByRole('alert').count(), 0);
    standIn.healthy = true;
    const answer = await standIn.next();
    answer.say('Ready now');
    answer.end();
    await has('Ready now');
    assert.equal(await page.getByText('still loading').count(), 0);
  });

  it('a wait for the model can be stopped', async () => {
    standIn.healthy = false;
    await send(page, 'Hello');
    (await standIn.next()).refuse(503, { message: 'loading' });
    await has('Your message is sent by itself');
    await page.keyboard.press('Escape');
    await has('Stopped');
    standIn.healthy = true;
  });

  it('a chat that is too long: the limit and the remedy', async () => {
    await send(page, 'Hello');
    (await standIn.next()).refuse(400, {
      message: 'This model’s maximum context length is 4096 tokens, yours are 5000.',
      code: 'context_length_exceeded',
    });
    const card = page.getByRole('alert');
    await card.getByText('This chat no longer fits into the model').waitFor();
    await card.getByText(/reads 4096 tokens at most/).waitFor();
    await card.getByText(/yours are 5000/).waitFor();
    await button(card, 'New chat').click();
    await has('What shall we work out?');
  });

  it('a refusal shows the server’s own words', async () => {
    await send(page, 'Hello');
    (await standIn.next()).refuse(400, {
      message: 'temperature must be at most 2',
    });
    await page.getByRole('alert').getByText('temperature must be at most 2').waitFor();
  });

  it('an error inside the stream keeps what had arrived', async () => {
    await send(page, 'Hello');
    const answer = await standIn.next();
    answer.say('the beginning');
    answer.send({
      error: { message: 'out of blocks', type: 'server_error', code: 500 },
    });
    answer.response.end();
    await page.getByRole('alert').getByText('out of blocks').waitFor();
    await has('the beginning');
  });

  for (const [how, cut] of [
    ['breaks', (answer) => answer.cut()],
    ['ends without a finish', (answer) => answer.response.end()],
  ]) {
    it(`a connection that ${how} is not passed off as a whole answer`, async () => {
      await send(page, 'Hello');
      const answer = await standIn.next();
      answer.say('the beginning');
      await has('the beginning');
      cut(answer);
      await page.getByRole('alert').getByText('The connection broke').waitFor();
      await has('the beginning');
    });
  }

  it('a page opened while the model loads says so, then is ready', async () => {
    standIn.healthy = false;
    await page.reload();
    await page.getByRole('status').getByText('The model is loading…').waitFor();
    standIn.healthy = true;
    await page.getByPlaceholder('Message qwen2.5-coder-1.5b').waitFor();
  });
});

describe('kept in the browser', () => {
  it('a reload brings the chat back', async () => {
    await ask('Remember me', 'I will, *always*.', 'a thought');
    await untilStored('"done"');
    await page.reload();
    await lastAnswer(page).locator('em', { hasText: 'always' }).waitFor();
    await page.getByText(/Thought for/).waitFor();
    await page.getByText(/142 tokens/).waitFor();
    assert.match(await page.title(), /^Remember me/);
  });

  it('a reload in mid-answer keeps what had arrived and frees the model', async () => {
    await send(page, 'Long story');
    const answer = await standIn.next();
    answer.begin();
    answer.say('Once upon a time');
    await untilStored('Once upon a time');
    await page.reload();
    assert.equal(await answer.abandoned, true);
    await has('Once upon a time');
    await has('Interrupted: this is what had arrived.');
    await button(page, 'Write again').click();
    (await standIn.next()).end();
  });

  it('another tab sees a chat grow and end', async () => {
    await send(page, 'Shared');
    const answer = await standIn.next();
    answer.say('part one');
    await untilStored('part one');
    const other = await newTab(page.context());
    await other.goto(page.url());
    await other.getByText('part one').waitFor();
    answer.say(' and part two');
    await other.getByText('part one and part two').waitFor();
    answer.end();
    await other.getByText(/142 tokens/).waitFor();
    assert.deepEqual(other.faults, []);
  });

  it('without any storage the page still chats, and says that nothing is kept', async () => {
    await closePage(page);
    page = await openPage(browser, 'about:blank');
    await page.addInitScript(() => {
      Object.defineProperty(globalThis, 'indexedDB', {
        get() {
          throw new DOMException('denied', 'SecurityError');
        },
      });
      Object.defineProperty(globalThis, 'localStorage', {
        get() {
          throw new DOMException('denied', 'SecurityError');
        },
      });
    });
    await page.goto(standIn.url);
    await has('This browser does not let the page keep chats');
    await ask('Hello', 'Hi without storage');
    await has('Hi without storage');
  });
});

describe('the chat list', () => {
  it('names a chat after its first message without asking the model', async () => {
    await ask('**How** do I boil an egg?\nThanks', 'Gently.');
    await page.getByRole('link', { name: 'How do I boil an egg?' }).waitFor();
    assert.equal(standIn.requests.length, 1);
  });

  it('renames', async () => {
    await ask('Egg', 'Gently.');
    await page.getByRole('link', { name: 'Egg' }).hover();
    await button(page, 'Rename “Egg”').click();
    await page.getByLabel('Chat name').fill('Breakfast');
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'Breakfast' }).waitFor();
    await untilStored('Breakfast');
    await page.reload();
    await page.getByRole('link', { name: 'Breakfast' }).waitFor();
  });

  it('deletes, and Undo brings the chat back as it was', async () => {
    await ask('Egg', 'Gently.');
    await page.getByRole('link', { name: 'Egg' }).hover();
    await button(page, 'Delete “Egg”').click();
    await has('What shall we work out?');
    assert.equal(await page.getByRole('link', { name: 'Egg' }).count(), 0);
    await button(page, 'Undo').click();
    await page.getByRole('link', { name: 'Egg' }).waitFor();
    await has('Gently.');
  });

  it('deleting a chat that is being answered frees the model and does not bring it back', async () => {
    await send(page, 'Egg');
    const answer = await standIn.next();
    answer.say('Gen');
    await has('Gen');
    await page.getByRole('link', { name: 'Egg' }).hover();
    await button(page, 'Delete “Egg”').click();
    assert.equal(await answer.abandoned, true);
    await has('Chat deleted');
    await page.reload();
    await has('Your chats will be listed here');
  });

  it('searches titles and texts', async () => {
    await ask('Egg', 'Boil it gently.');
    await page.keyboard.press('Control+Shift+O');
    await ask('Bread', 'Bake it.');
    await page.getByLabel('Search chats').fill('gent boil');
    await page.getByRole('link', { name: 'Bread' }).waitFor({ state: 'detached' });
    assert.equal(await page.getByRole('link', { name: 'Egg' }).count(), 1);
    await page.getByLabel('Search chats').fill('zzz');
    await has('No chat matches.');
  });

  it('back and forward move between chats', async () => {
    await ask('Egg', 'Gently.');
    await page.keyboard.press('Control+Shift+O');
    await ask('Bread', 'Bake it.');
    await page.goBack();
    await has('What shall we work out?');
    await page.goBack();
    await has('Gently.');
    await page.goForward();
    await page.goForward();
    await has('Bake it.');
  });

  it('an address of a chat that is not there is a new chat', async () => {
    await page.goto(`${standIn.url}#/chat/nothere`);
    await page.reload();
    await has('What shall we work out?');
    assert.equal(new URL(page.url()).hash, '#/');
  });
});

describe('settings', () => {
  it('go into the request, and only those that were set', async () => {
    await button(page, 'Settings').click();
    await page.getByLabel('Instructions').fill('Be brief.');
    await page.getByLabel('Temperature', { exact: true }).fill('0.3');
    await page.getByLabel('Longest answer').fill('64');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Escape');
    await ask('Hello', 'Hi');
    const { messages, temperature, max_tokens, ...rest } = standIn.requests[0];
    assert.deepEqual(messages[0], { role: 'system', content: 'Be brief.' });
    assert.deepEqual([temperature, max_tokens, 'top_p' in rest], [0.3, 64, false]);
    await page.reload();
    await button(page, 'Settings').click();
    assert.equal(await page.getByLabel('Instructions').inputValue(), 'Be brief.');
    await button(page, 'Use the model’s own Temperature').click();
    await page.keyboard.press('Escape');
    await ask('Hello', 'Hi');
    assert.equal('temperature' in standIn.requests[1], false);
  });

  it('a theme is kept, and is there before the first paint', async () => {
    await button(page, 'Settings').click();
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await paper();
    await page.getByText('Dark', { exact: true }).click();
    assert.notEqual(await paper(), light);
    await page.route('**/assets/*.js', (route) => route.abort());
    await page.reload({ waitUntil: 'domcontentloaded' });
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  });

  it('a language is kept and names the document', async () => {
    await button(page, 'Settings').click();
    await page.getByText('简体中文').click();
    await page.getByRole('heading', { name: '设置' }).waitFor();
    await page.reload();
    await has('今天想聊点什么？');
    assert.equal(await page.evaluate(() => document.documentElement.lang), 'zh-CN');
  });

  it('a Chinese browser gets Chinese', async () => {
    const chinese = await openPage(browser, standIn.url, { locale: 'zh-CN' });
    await chinese.getByText('今天想聊点什么？').waitFor();
    await closePage(chinese);
  });

  it('several models can be picked from', async () => {
    standIn.models = ['qwen2.5-coder-1.5b', 'smollm2-135m'];
    await page.reload();
    await page.getByLabel('Model', { exact: true }).selectOption('smollm2-135m');
    await ask('Hello', 'Hi');
    assert.equal(standIn.requests[0].model, 'smollm2-135m');
    await page.reload();
    await page.getByPlaceholder('Message smollm2-135m').waitFor();
  });
});

describe('copying', () => {
  beforeEach(() => page.context().grantPermissions(['clipboard-read', 'clipboard-write']));
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());

  it('a message gives its markdown, a code block its code', async () => {
    const markdown = 'See:\n\n```python\nprint("<b>")\n```\n\n**Done**';
    await ask('Hello', markdown);
    await button(lastAnswer(page), 'Copy').last().click();
    await button(page, 'Copied').waitFor();
    assert.equal(await clipboard(), markdown);
    await lastAnswer(page).locator('.code-copy').click();
    await page.locator('.code-copy', { hasText: 'Copied' }).waitFor();
    assert.equal(await clipboard(), 'print("<b>")');
  });

  it('works without https, where navigator.clipboard is missing', async () => {
    await page.addInitScript(() => {
      Object.defineProperty(globalThis, 'isSecureContext', { value: false });
    });
    await page.reload();
    await ask('Hello', 'Plain words');
    await button(lastAnswer(page), 'Copy').click();
    await button(page, 'Copied').waitFor();
    assert.equal(await clipboard(), 'Plain words');
  });
});

describe('at 360 pixels', () => {
  beforeEach(async () => {
    await page.setViewportSize({ width: 360, height: 740 });
  });

  it('nothing is wider than the screen', async () => {
    const wide =
      '| a | b | c | d | e | f | g |\n|---|---|---|---|---|---|---|\n| 1000000 | 1000000 | 1000000 | 1000000 | 1000000 | 1000000 | 1000000 |';
    await ask(
      'x'.repeat(300),
      `${'y'.repeat(300)}\n\n${wide}\n\n\`\`\`\n${'z'.repeat(300)}\n\`\`\`\n\n$$${'a+'.repeat(80)}b$$`,
    );
    await page.locator('.katex').first().waitFor();
    const widths = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      document.querySelector('.conversation').scrollWidth,
    ]);
    assert.ok(Math.max(...widths) <= 360, String(widths));
  });

  it('the chats are in a drawer that Esc closes', async () => {
    await ask('Egg', 'Gently.');
    await button(page, 'New chat').click();
    await button(page, 'Show chats').click();
    await page.getByRole('link', { name: 'Egg' }).waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('link', { name: 'Egg' }).waitFor({ state: 'hidden' });
    await button(page, 'Show chats').click();
    await page.getByRole('link', { name: 'Egg' }).click();
    await has('Gently.');
    assert.equal(await page.getByRole('link', { name: 'Egg' }).isVisible(), false);
  });
});

describe('for screen readers', () => {
  it('one live region tells what happens, not every token', async () => {
    const spoken = page.locator('[aria-live=polite]').first();
    await send(page, 'Hello');
    const answer = await standIn.next();
    answer.think('hm');
    await spoken.getByText('The model is thinking.').waitFor();
    answer.say('Hi');
    await spoken.getByText('The answer is arriving.').waitFor();
    answer.end();
    await spoken.getByText('The answer is complete.').waitFor();
    assert.equal(await text(spoken), 'The answer is complete.');
  });
});
