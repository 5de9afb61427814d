import { beforeAll, describe, expect, it } from 'vitest';
import { renderBlocks } from './markdown';
import { closeTex, dropLastToken, loadMath, renderMath } from './math-render';

const render = (source: string, streaming = false) =>
  renderBlocks(source, { streaming, copyLabel: 'Copy' }).join('');
/** The formulas of a text, as KaTeX was not loaded and shows their source. */
const formulas = (source: string, streaming = false) =>
  [...render(source, streaming).matchAll(/class="(math-\w+) math-source">([^<]*)</g)].map(
    ([, style, tex]) => [style, tex],
  );

describe('finding formulas (before KaTeX is there)', () => {
  it.each([
    ['\\(a\\)', [['math-inline', 'a']]],
    ['\\[a\\]', [['math-display', 'a']]],
    ['$a$', [['math-inline', 'a']]],
    ['$$a$$', [['math-display', 'a']]],
    ['$$\na\nb\n$$', [['math-display', 'a\nb']]],
    ['\\[\na\n\\]', [['math-display', 'a']]],
    ['text $$a$$ text', [['math-display', 'a']]],
    ['text\n\\[\na\n\\]\ntext', [['math-display', 'a']]],
    ['- item\n  $$\n  a\n  $$', [['math-display', 'a']]],
    ['> \\[ a \\]', [['math-display', 'a']]],
    [
      '\\[a\\] where \\(b\\)',
      [
        ['math-display', 'a'],
        ['math-inline', 'b'],
      ],
    ],
    ['\\[a\\].', [['math-display', 'a']]],
    ['**$a$**', [['math-inline', 'a']]],
    [
      '| $a$ |\n|---|\n| $b$ |',
      [
        ['math-inline', 'a'],
        ['math-inline', 'b'],
      ],
    ],
    [
      '$a_1$ and $b*c*d$',
      [
        ['math-inline', 'a_1'],
        ['math-inline', 'b*c*d'],
      ],
    ],
    ['$\\$5$', [['math-inline', '\\$5']]],
    ['令 $x$，则', [['math-inline', 'x']]],
  ])('%j', (source, expected) => {
    expect(formulas(source)).toEqual(expected);
  });

  it.each([
    'It costs $5 or $10.',
    'from $5 to $10',
    'a $ b $ c',
    '`$a$`',
    '\\$a\\$',
    '$',
    '$$',
    '\\\\(a\\\\)',
    '\\(a',
    '$$a',
    '$20,000 and $30',
  ])('none in %j', (source) => {
    expect(formulas(source)).toEqual([]);
  });

  it('an open formula counts while streaming, an open dollar does not', () => {
    expect(formulas('x \\(a', true)).toEqual([['math-inline', 'a']]);
    expect(formulas('$$\na\n', true)).toEqual([['math-display', 'a']]);
    expect(formulas('it costs $5', true)).toEqual([]);
  });
});

describe('formulas that are still being written', () => {
  it.each([
    ['\\frac{a', '\\frac{a}{}'],
    ['\\frac{a}{b', '\\frac{a}{b}'],
    ['\\left( \\frac{a}{b', '\\left( \\frac{a}{b}\\right.'],
    ['\\begin{pmatrix} 1 & {2', '\\begin{pmatrix} 1 & {2}\\end{pmatrix}'],
    ['\\{ a', '\\{ a'],
    ['\\leftarrow a', '\\leftarrow a'],
    ['a}', 'a}'],
  ])('closeTex(%j)', (open, closed) => {
    expect(closeTex(open)).toBe(closed);
  });

  it.each([
    ['a+\\frac', 'a+'],
    ['a^', 'a'],
    ['a\\\\', 'a'],
    ['\\', ''],
  ])('dropLastToken(%j)', (tex, rest) => {
    expect(dropLastToken(tex)).toBe(rest);
  });

  describe('with KaTeX', () => {
    beforeAll(loadMath);

    it('something is typeset at nearly every moment', () => {
      const tex =
        'x_{1,2} = \\left( \\frac{-b \\pm \\sqrt{b^2-4ac}}{2a} \\right) \\begin{cases} 1 & a \\\\ 2 & b \\end{cases}';
      let typeset = 0;
      for (let cut = 1; cut <= tex.length; cut++) if (renderMath(tex.slice(0, cut), true, true)) typeset++;
      expect(typeset / tex.length).toBeGreaterThan(0.97);
      expect(renderMath(tex, true, false)).toContain('katex-display');
    });

    it('a wrong formula is not typeset, a hostile one neither', () => {
      expect(renderMath('\\frac{', false, false)).toBeUndefined();
      expect(renderMath('\\href{javascript:alert(1)}{x}', false, false) ?? '').not.toMatch(
        /href=|javascript/,
      );
    });
  });
});
