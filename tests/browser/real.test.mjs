// The page on the real program with a real model: CARRONADE_PAGE_URL=http://127.0.0.1:7860/ node --test tests/browser/real.test.mjs
// CARRONADE_SCREENSHOT=FILE.png keeps a picture of the answered chat.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { button, closePage, composer, lastAnswer, launch, openPage, send } from './browser.mjs';

const url = process.env.CARRONADE_PAGE_URL;
const skip = url ? false : 'set CARRONADE_PAGE_URL to the address of a running page to test it';
const answerMs = 120_000;

describe('the page on a real server', { skip }, () => {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser.close());

  async function ready() {
    const page = await openPage(browser, 'about:blank');
    // Short answers, so that a slow machine ends in time too.
    await page.addInitScript(() => {
      localStorage.setItem('carronade.settings', JSON.stringify({ maxTokens: 192 }));
    });
    await page.goto(url);
    await page.waitForFunction(() => /\S/.test(document.querySelector('main header')?.textContent ?? ''));
    const models = await page.evaluate(async () => (await fetch('/v1/models')).json());
    await page.getByPlaceholder(`Message ${models.data[0].id}`).waitFor();
    return page;
  }

  it('is small and keeps to its own origin, under a content policy', async () => {
    const page = await openPage(browser, 'about:blank');
    const requests = [];
    page.on('request', (request) => requests.push(request.url()));
    const response = await page.goto(url, { waitUntil: 'networkidle' });
    assert.match(response.headers()['content-security-policy'] ?? '', /default-src 'self'/);
    assert.ok(requests.length <= 15, requests.join('\n'));
    assert.ok(
      requests.every((request) => new URL(request).origin === new URL(url).origin),
      requests.join('\n'),
    );
    await closePage(page);
  });

  it('streams an answer, counts its tokens and finds it again after a reload', async () => {
    const page = await ready();
    await page.evaluate(() => {
      globalThis.lengths = new Set();
      new MutationObserver(() => {
        const prose = [...document.querySelectorAll('article .prose')].at(-1);
        if (prose) globalThis.lengths.add(prose.textContent.length);
      }).observe(document.body, {
        subtree: true,
        childList: true,
        characterData: true,
      });
    });
    await send(page, 'Write a Python function that adds two numbers, and explain it in two sentences.');
    await button(lastAnswer(page), 'Write again').waitFor({
      timeout: answerMs,
    });
    assert.equal(await page.getByRole('alert').count(), 0);
    await lastAnswer(page)
      .getByText(/\d+ tokens · [\d.]+ tokens\/s/)
      .waitFor();
    const text = await lastAnswer(page).locator('.prose').last().innerText();
    assert.ok(text.trim().length > 20, text);
    const steps = await page.evaluate(() => globalThis.lengths.size);
    assert.ok(steps >= 5, `the answer came in ${steps} steps: it was not streamed`);

    const picture = process.env.CARRONADE_SCREENSHOT;
    if (picture) {
      await mkdir(dirname(picture), { recursive: true });
      await page.screenshot({ path: picture });
    }
    await page.reload();
    await lastAnswer(page).locator('.prose').last().waitFor();
    assert.equal(await lastAnswer(page).locator('.prose').last().innerText(), text);
    await closePage(page);
  });

  it('stops an answer, and the model is free for the next one', async () => {
    const page = await ready();
    await send(page, 'Count from 1 to 500, one number a line, without leaving any out.');
    await lastAnswer(page).locator('.prose').last().waitFor({ timeout: answerMs });
    await page.keyboard.press('Escape');
    await page.getByText('Stopped', { exact: true }).waitFor();
    await composer(page).waitFor();
    await send(page, 'Say only: yes');
    await lastAnswer(page).locator('.prose').last().waitFor({ timeout: answerMs });
    await page.keyboard.press('Escape');
    await closePage(page);
  });
});
