// Takes the pictures people look at: node tests/browser/screenshots.mjs FOLDER
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { button, closePage, composer, launch, openPage, send } from './browser.mjs';
import { chineseAnswer, chineseThought, codeAnswer, mathAnswer, thought } from './samples.mjs';
import { StandIn } from './stand-in.mjs';

const folder = process.argv[2] ?? 'screenshots';
await mkdir(folder, { recursive: true });
const standIn = await StandIn.start();
const browser = await launch();
const shot = (page, name) => page.screenshot({ path: join(folder, `${name}.png`) });

async function answered(page, question, thoughts, text) {
  await send(page, question);
  const answer = await standIn.next();
  answer.begin();
  if (thoughts) await answer.type(thoughts, 'reasoning', 25);
  await answer.type(text, 'content', 4);
  answer.end();
  await page.locator('article').last().locator('.turn-tools').waitFor();
  await page.evaluate(() => document.fonts.ready);
}

async function looks(name, options) {
  const page = await openPage(browser, standIn.url, options);
  await composer(page).waitFor();
  await page.getByText('qwen2.5-coder-1.5b').first().waitFor();
  await page.evaluate(() => document.fonts.ready);
  await shot(page, `${name}-empty`);
  const chinese = options.locale === 'zh-CN';
  if (chinese) await answered(page, '公钥为什么可以公开？', chineseThought, chineseAnswer);
  else await answered(page, 'Solve x² − 5x + 6 = 0 step by step.', thought, mathAnswer);
  await shot(page, `${name}-math`);
  if (!chinese) {
    await answered(page, 'Now write a Python function that merges two sorted lists.', '', codeAnswer);
    await shot(page, `${name}-code`);
    await send(page, 'And how many steps does it take?');
    const answer = await standIn.next();
    answer.begin();
    await answer.type(thought, 'reasoning', 60);
    await page.locator('details').last().locator('summary').click();
    await page.locator('details').last().locator('.katex').first().waitFor();
    await shot(page, `${name}-thinking`);
    answer.cut();
    await page.getByRole('alert').waitFor();
    await shot(page, `${name}-error`);
  }
  await page
    .getByRole('button', { name: /Show chats|显示对话列表/ })
    .click({ timeout: 500 })
    .catch(() => undefined);
  await shot(page, `${name}-sidebar`);
  await page.getByRole('button', { name: /^(Settings|设置)$/ }).click();
  await shot(page, `${name}-settings`);
  await closePage(page);
}

const wide = { width: 1440, height: 900 };
const narrow = { width: 360, height: 740 };
await looks('wide-light', { viewport: wide, colorScheme: 'light' });
await looks('wide-dark', { viewport: wide, colorScheme: 'dark' });
await looks('narrow-light', {
  viewport: narrow,
  colorScheme: 'light',
  hasTouch: true,
});
await looks('narrow-dark', {
  viewport: narrow,
  colorScheme: 'dark',
  hasTouch: true,
});
await looks('wide-chinese', {
  viewport: wide,
  colorScheme: 'light',
  locale: 'zh-CN',
});
await browser.close();
await standIn.stop();
