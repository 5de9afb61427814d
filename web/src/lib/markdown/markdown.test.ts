import { beforeAll, describe, expect, it } from 'vitest';
import { highlight, loadHighlighter } from './highlight';
import { renderBlocks } from './markdown';

const options = { streaming: true, copyLabel: 'Copy' };

describe('renderBlocks', () => {
  it('gives one string a top-level block', () => {
    const source = '# A\n\ntext\n\n- one\n- two\n\n> quote\n\n---\n\n```js\n1\n```\n\n| a |\n|---|\n| b |\n';
    expect(renderBlocks(source, options).map((html) => /^<(\w+)/.exec(html)?.[1])).toEqual([
      'h1',
      'p',
      'ul',
      'blockquote',
      'hr',
      'div',
      'div',
    ]);
  });

  it('while text grows, the blocks before the last stay as they are', () => {
    const source =
      'One **two**.\n\n1. three\n2. four\n\n```py\nfive = 5\n```\n\nSix $7$ and\neight.\n\n> nine';
    let before: string[] = [];
    for (let cut = 1; cut <= source.length; cut++) {
      const now = renderBlocks(source.slice(0, cut), options);
      expect(now.slice(0, before.length - 1), `at ${String(cut)}`).toEqual(before.slice(0, -1));
      before = now;
    }
  });

  it('escapes what looks like HTML', () => {
    expect(renderBlocks('<script>alert(1)</script>', options).join('')).not.toContain('<script');
    expect(renderBlocks('```"><img src=x>\n<b>\n```', options).join('')).not.toMatch(/<img|<b>/);
  });

  it('refuses addresses that run scripts', () => {
    expect(renderBlocks('[a](javascript:alert(1))', options).join('')).not.toContain('href');
  });
});

describe('highlight', () => {
  beforeAll(loadHighlighter);

  it('knows common languages and their short names', () => {
    for (const name of [
      'python',
      'py',
      'js',
      'tsx',
      'c++',
      'rs',
      'sh',
      'html',
      'yml',
      'toml',
      'cs',
      'kt',
      'tex',
    ]) {
      expect(highlight('x = 1', name), name).toBeDefined();
    }
  });

  it('leaves unknown and very long code plain', () => {
    expect(highlight('x', 'frobnicate')).toBeUndefined();
    expect(highlight('x'.repeat(40_000), 'python')).toBeUndefined();
  });
});
