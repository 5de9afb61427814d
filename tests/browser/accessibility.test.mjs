// axe-core on every screen, light and dark, narrow and wide, in both languages; and the whole page by keyboard.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  assertAccessible,
  button,
  closePage,
  composer,
  lastAnswer,
  launch,
  openPage,
  send,
} from './browser.mjs';
import { chineseAnswer, codeAnswer, mathAnswer, thought } from './samples.mjs';
import { StandIn } from './stand-in.mjs';

let browser;
let standIn;

before(async () => {
  browser = await launch();
  standIn = await StandIn.start();
});
after(async () => {
  await browser.close();
  await standIn.stop();
});

async function tour(page) {
  const check = (what) => assertAccessible(page, what);
  await composer(page).waitFor();
  await check('empty');

  await send(page, 'Everything');
  let answer = await standIn.next();
  answer.begin();
  answer.think(thought);
  await page.locator('details.thinking summary').click();
  await page.locator('details.thinking .katex').first().waitFor();
  await check('thinking');
  answer.say(
    `${mathAnswer}\n\n${codeAnswer}\n\n${chineseAnswer}\n\n> quoted [link](https://example.org)\n\n---`,
  );
  answer.end();
  await lastAnswer(page).locator('.turn-tools').waitFor();
  await lastAnswer(page).locator('.hljs-keyword').first().waitFor();
  await page.locator('details.thinking summary').click();
  await check('answered');

  await lastAnswer(page).locator('.turn-tools button').nth(1).click();
  answer = await standIn.next();
  answer.refuse(400, { message: 'too long', code: 'context_length_exceeded' });
  await page.getByRole('alert').waitFor();
  await check('failed, with versions');

  await page.locator('article').first().hover();
  await page.locator('article').first().locator('[data-edit]').click();
  await check('editing');
  await page.keyboard.press('Escape');

  if (page.viewportSize().width < 768) {
    await page.getByRole('main').getByRole('button').first().click();
    await check('drawer');
  }
  await page.getByRole('button', { name: /^(Settings|设置)$/ }).click();
  await check('settings');
  await page.keyboard.press('Escape');
}

describe('axe finds nothing', () => {
  // Every colour and every width; the languages take turns.
  for (const [colorScheme, width, locale] of [
    ['light', 360, 'zh-CN'],
    ['light', 1440, 'en-GB'],
    ['dark', 360, 'en-GB'],
    ['dark', 1440, 'zh-CN'],
  ]) {
    it(`${colorScheme}, ${width} px, ${locale}`, async () => {
      const page = await openPage(browser, standIn.url, {
        viewport: { width, height: 800 },
        colorScheme,
        locale,
      });
      await tour(page);
      await closePage(page);
    });
  }
});

describe('by keyboard alone', () => {
  it('from the question to an older version, a renamed chat and the settings', async () => {
    const page = await openPage(browser, standIn.url);
    const focused = () =>
      page.evaluate(
        () => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim(),
      );
    const tabTo = async (name, key = 'Tab') => {
      for (let i = 0; i < 40; i++) {
        if ((await focused()) === name) return;
        await page.keyboard.press(key);
      }
      assert.fail(`Tab never reached ${name}`);
    };
    await composer(page).waitFor();
    await page.keyboard.type('Hello');
    await page.keyboard.press('Enter');
    let answer = await standIn.next();
    answer.say('one');
    answer.end();
    await button(page, 'Write again').waitFor();
    await tabTo('Write again', 'Shift+Tab');
    await page.keyboard.press('Enter');
    answer = await standIn.next();
    answer.say('two');
    answer.end();
    await page.getByText('two', { exact: true }).waitFor();
    await page.locator('body').press('Tab');
    await tabTo('Previous version');
    await page.keyboard.press('Enter');
    await page.getByText('one', { exact: true }).waitFor();
    await tabTo('Rename “Hello”');
    await page.keyboard.press('Enter');
    await page.keyboard.type('Greeting');
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'Greeting' }).waitFor();
    await tabTo('Settings');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'hidden' });
    assert.equal(await focused(), 'Settings'); // where it was before the dialog
    await closePage(page);
  });

  it('nothing moves for who asked for less motion', async () => {
    const page = await openPage(browser, standIn.url, {
      reducedMotion: 'reduce',
    });
    await send(page, 'Hello');
    const answer = await standIn.next();
    answer.begin();
    await page.locator('.waiting').waitFor();
    const running = () =>
      page.evaluate(
        () =>
          document
            .getAnimations()
            .filter((a) => a.playState === 'running' && a.effect.getComputedTiming().duration > 1).length,
      );
    assert.equal(await running(), 0);
    answer.end();
    await closePage(page);
  });
});
