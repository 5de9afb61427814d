// How the page behaves around its answers, against a stand-in server whose answers each test writes itself.
import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { button, closePage, composer, lastAnswer, openPage, send } from './browser.mjs';
import { ask, browser, has, openPageForEachTest, page, standIn, text, untilStored } from './fixture.mjs';

openPageForEachTest();

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

describe('a server with a key', () => {
  it('asks for it, says when it is wrong, remembers the right one', async () => {
    standIn.key = 'secret';
    await page.reload();
    const field = page.getByLabel('Key of this server');
    await field.fill('guess');
    await button(page, 'Unlock').click();
    await has('That is not the key of this server.');
    await field.fill('secret');
    await button(page, 'Unlock').click();
    await field.waitFor({ state: 'detached' });
    await ask('Hello', 'Hi, whoever you are');
    await page.reload();
    await ask('Hello again', 'Still here');
    assert.equal(await field.count(), 0);
  });

  it('a key that is changed meanwhile is asked for again', async () => {
    standIn.key = 'new';
    await send(page, 'Hello');
    await has('The server asks for a key');
    await page.getByLabel('Key of this server').fill('new');
    await button(page, 'Unlock').click();
    await button(page, 'Retry').click();
    const answer = await standIn.next();
    answer.say('Back again');
    answer.end();
    await has('Back again');
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
