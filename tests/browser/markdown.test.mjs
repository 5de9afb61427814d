// What answers look like once typeset, and that nothing in them can act. Runs in Chromium: a sanitiser is only as good as the
// browser it runs in.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { closePage, lastAnswer, launch, openPage, send } from './browser.mjs';
import { codeAnswer, mathAnswer } from './samples.mjs';
import { StandIn } from './stand-in.mjs';

let browser;
let standIn;
let page;

before(async () => {
  browser = await launch();
  standIn = await StandIn.start();
});
after(async () => {
  await browser.close();
  await standIn.stop();
});
beforeEach(async () => {
  page = await openPage(browser, standIn.url);
});
afterEach(() => closePage(page));

/** Sends a question and leaves the answer open. */
async function begin(text) {
  await send(page, 'Hello');
  const answer = await standIn.next();
  answer.begin();
  answer.say(text);
  return answer;
}

async function answered(text) {
  (await begin(text)).end();
  await lastAnswer(page).locator('.turn-tools').waitFor();
  return lastAnswer(page).locator('.prose').last();
}

describe('markdown', () => {
  it('code has its language, its colours and a button to copy', async () => {
    const prose = await answered(codeAnswer);
    await prose.locator('.hljs-keyword', { hasText: 'while' }).waitFor();
    assert.equal(await prose.locator('.code-head span').innerText(), 'Python');
    assert.equal(await prose.locator('ol > li').count(), 2);
    const code = await prose.locator('pre code').evaluate((node) => node.textContent);
    assert.ok(codeAnswer.includes(code), 'highlighting changed the code');
  });

  it('an unfinished code block is already one', async () => {
    const answer = await begin('```js\nconst a = 1 < 2');
    await lastAnswer(page).locator('.hljs-keyword', { hasText: 'const' }).waitFor();
    answer.end();
  });

  it('an unknown language stays plain and escaped', async () => {
    const prose = await answered('```frobnicate\n<b>x</b>\n```');
    assert.equal(await prose.locator('pre').innerText(), '<b>x</b>\n');
    assert.equal(await prose.locator('.code-head span').innerText(), 'frobnicate');
  });

  it('Chinese bold text needs no blanks around it', async () => {
    const prose = await answered('**注意：**请先保存。');
    assert.equal(await prose.locator('strong').innerText(), '注意：');
  });

  it('links open elsewhere and tell nothing; pictures become links', async () => {
    const prose = await answered(
      '[a](https://example.org) https://example.com ![tracker](https://example.net/p.png)',
    );
    const links = await prose.locator('a').evaluateAll((all) => all.map((a) => [a.href, a.target, a.rel]));
    const safe = ['_blank', 'noopener noreferrer nofollow'];
    assert.deepEqual(links, [
      ['https://example.org/', ...safe],
      ['https://example.com/', ...safe],
      ['https://example.net/p.png', ...safe],
    ]);
    assert.equal(await prose.locator('img').count(), 0);
  });
});

describe('mathematics', () => {
  it('all four notations, in text, displayed and in tables; prices stay prices', async () => {
    const prose = await answered(mathAnswer);
    await prose.locator('.katex').first().waitFor();
    assert.equal(await prose.locator('div.math-display .katex-display').count(), 2);
    assert.equal(await prose.locator('p .math-inline .katex').count(), 2);
    assert.equal(await prose.locator('table .katex').count(), 7);
    assert.equal(await prose.locator('.math-source').count(), 0);
    await prose.getByText('A pen costs $5 and a book $10').waitFor();
    assert.equal(await prose.locator('.math-display svg path').count(), 2); // the roots are drawn
  });

  it('screen readers get MathML without the TeX source behind it', async () => {
    const prose = await answered('\\(x^2\\)');
    await prose.locator('.katex').waitFor();
    assert.equal(await prose.locator('math').evaluate((node) => node.textContent), 'x2');
    assert.equal(await prose.locator('math msup').count(), 1);
  });

  it('a formula is typeset while it is still being written', async () => {
    const answer = await begin('Look: \\[ x = \\frac{1}{2');
    await lastAnswer(page).locator('.math-display .katex .mfrac').waitFor();
    answer.say('} + \\sqrt');
    answer.say('{3} \\] and on');
    answer.end();
    await lastAnswer(page).locator('.sqrt').waitFor();
    await lastAnswer(page).getByText('and on').waitFor();
  });

  it('what KaTeX cannot read is shown as it was written', async () => {
    const prose = await answered('\\(\\notacommand{<i>}\\)');
    await prose.locator('.math-source').waitFor();
    assert.equal(await prose.locator('.math-source').innerText(), '\\notacommand{<i>}');
  });

  it('code is not searched for formulas', async () => {
    const prose = await answered('`$a$` and\n\n```\n\\(b\\)\n```\n\nand $c$');
    await prose.locator('.katex').waitFor();
    assert.equal(await prose.locator('.katex').count(), 1);
  });
});

describe('hostile answers', () => {
  const attacks = [
    '<img src=x onerror="window.hit=1">',
    '<script>window.hit=1</script>',
    '<svg><script>window.hit=1</script></svg>',
    '<svg/onload=window.hit=1>',
    '<iframe srcdoc="<script>parent.hit=1</script>"></iframe>',
    '[click](javascript:window.hit=1)',
    '[click](data:text/html,<script>window.hit=1</script>)',
    '![x](javascript:window.hit=1)',
    '[x]("onmouseover="window.hit=1)',
    '<math><mtext><table><mglyph><style><img src=x onerror=window.hit=1>',
    '```"><img src=x onerror=window.hit=1>\ncode\n```',
    '\\(\\href{javascript:window.hit=1}{x}\\)',
    '\\(\\htmlStyle{background:url(https://example.org/leak)}{x}\\)',
    '\\(\\includegraphics{https://example.org/leak.png}\\)',
    '\\(\\text{<img src=x onerror=window.hit=1>}\\)',
    '$$\\unicode{<img src=x onerror=window.hit=1>}$$',
    '<form action="https://example.org"><input name=q><button>go</button></form>',
    '<style>body{display:none}</style>',
    '<a href="#" id="app" name="location">clobber</a>',
  ];

  it('do nothing and load nothing', async () => {
    const foreign = [];
    page.on('request', (request) => {
      if (!request.url().startsWith(standIn.url)) foreign.push(request.url());
    });
    const prose = await answered(attacks.join('\n\n'));
    await prose.locator('.code-block').waitFor();
    await page.waitForLoadState('networkidle');
    const bad = await prose.evaluate((root) =>
      [...root.querySelectorAll('*')].flatMap((node) => {
        const forbidden = /^(script|iframe|img|form|input|style|object|embed|link|meta)$/i.test(
          node.localName,
        );
        const handlers = [...node.attributes].filter(
          ({ name, value }) => /^on/.test(name) || /javascript:|data:/i.test(value),
        );
        return forbidden || handlers.length > 0 || node.id ? [node.outerHTML] : [];
      }),
    );
    assert.deepEqual(bad, []);
    assert.deepEqual(foreign, []);
    for (const link of await prose.locator('a').all()) await link.dispatchEvent('mouseover');
    assert.equal(await page.evaluate(() => globalThis.hit), undefined);
    await prose.getByText('<script>window.hit=1</script>', { exact: true }).first().waitFor(); // shown, not run
  });

  it('a formula that expands without end is given up', async () => {
    const prose = await answered('\\(\\def\\a{\\a\\a}\\a\\) still here');
    await prose.getByText('still here').waitFor();
    await prose.locator('.math-source').waitFor();
  });
});
