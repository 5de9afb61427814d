// Chromium as the tests use it. The libraries are those of web/package.json.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../../web/package.json', import.meta.url));
const { chromium } = require('playwright-core');
export const axeSource = require('axe-core').source;

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** A fresh profile with one tab on `url`. `faults` collects what no test may cause: script errors and policy violations. */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1440, height: 900 },
    locale: 'en-GB',
    ...options,
  });
  context.setDefaultTimeout(10_000);
  const page = await newTab(context);
  await page.goto(url);
  return page;
}

export async function newTab(context) {
  const page = await context.newPage();
  page.faults = [];
  page.on('pageerror', (error) => page.faults.push(String(error)));
  page.on('console', (message) => {
    if (/Content Security Policy/i.test(message.text())) page.faults.push(message.text());
  });
  return page;
}

/** Closes the tab's profile and fails if anything went wrong in it unseen. */
export async function closePage(page) {
  const { faults } = page;
  await page.context().close();
  assert.deepEqual(faults, []);
}

export const composer = (page) => page.locator('form.composer textarea');

export async function send(page, text) {
  await composer(page).fill(text);
  await composer(page).press('Enter');
}

export const lastAnswer = (page) => page.locator('article').last();
export const button = (where, name) => where.getByRole('button', { name, exact: true });

/** Runs axe-core and fails with what it found. */
export async function assertAccessible(page, what) {
  // axe sees colours in the middle of a transition otherwise.
  await page.waitForFunction(() =>
    document
      .getAnimations()
      .every((a) => a.playState !== 'running' || a.effect.getTiming().iterations === Infinity),
  );
  await page.evaluate(axeSource);
  const found = await page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    // axe does not read MathML, so a heading that is only a formula looks empty to it.
    const formula = (id, target) =>
      id === 'empty-table-header' && document.querySelector(target[0])?.querySelector('math mi');
    return violations.flatMap(({ id, nodes }) =>
      nodes
        .filter(({ target }) => !formula(id, target))
        .map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`),
    );
  });
  assert.deepEqual(found, [], `axe: ${what}`);
}
