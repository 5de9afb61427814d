// How answers come, stop, fail and are kept, against a stand-in server whose answers each test writes itself.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { button, closePage, lastAnswer, newTab, openPage, send } from './browser.mjs';
import {
  ask,
  browser,
  has,
  openPageForEachTest,
  page,
  replacePage,
  standIn,
  untilStored,
} from './fixture.mjs';

openPageForEachTest();

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
    replacePage(await openPage(browser, 'about:blank'));
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
