// Takes the readme's picture from a running page with a real model: node tests/browser/readme_picture.mjs URL FILE.png
import { closePage, lastAnswer, launch, openPage, send } from './browser.mjs';

const [url, file] = process.argv.slice(2);
if (!file) {
  console.error('usage: readme_picture.mjs URL FILE.png');
  process.exit(1);
}
const browser = await launch();
const page = await openPage(browser, 'about:blank', {
  viewport: { width: 1440, height: 900 },
  colorScheme: 'light',
});
await page.goto(url);
await send(
  page,
  'Write a Python function that solves a x² + b x + c = 0, and say in one sentence how it works.',
);
await lastAnswer(page).locator('.turn-tools').waitFor({ timeout: 120_000 });
await page.evaluate(() => document.fonts.ready);
await page.screenshot({ path: file });
await closePage(page);
await browser.close();
