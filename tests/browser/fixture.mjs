// What the tests of the page share: a browser, a page on a stand-in server of its own for each test, and helpers.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach } from 'node:test';
import { button, closePage, lastAnswer, launch, openPage, send } from './browser.mjs';
import { StandIn } from './stand-in.mjs';

// Live bindings: they name the running test's.
export let browser;
export let standIn;
export let page;

/** Call once at the top of a file of tests. */
export function openPageForEachTest() {
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
}

/** For a test that opens a page of its own; the old one is closed already. */
export function replacePage(other) {
  page = other;
}

export const text = (locator) => locator.innerText();
export const has = (wanted) => page.getByText(wanted).first().waitFor();

export async function ask(question, reply, thought = '') {
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
export function storedText() {
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

export async function untilStored(wanted) {
  for (const end = Date.now() + 10_000; Date.now() < end;) if ((await storedText()).includes(wanted)) return;
  assert.fail(`never stored: ${wanted}`);
}
