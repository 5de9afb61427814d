import type MarkdownIt from 'markdown-it';
import type { RuleBlock } from 'markdown-it/lib/parser_block.mjs';
import type { RuleInline } from 'markdown-it/lib/parser_inline.mjs';

/**
 * Teaches markdown-it the four ways models write mathematics: `\( \)` and `$ $` inline, `\[ \]` and `$$ $$` displayed.
 * Tokens are `math_inline` and `math_block`; `meta.display` tells the style and `meta.open` that the closing mark has not
 * arrived yet (only while streaming, see `env.streaming`).
 */
export function mathSyntax(md: MarkdownIt): void {
  md.inline.ruler.before('escape', 'math_inline', mathInline);
  md.block.ruler.before('fence', 'math_block', mathBlock, {
    alt: ['paragraph', 'reference', 'blockquote', 'list'],
  });
}

interface MathEnv {
  streaming?: boolean;
}

const displayMarks = [
  ['$$', '$$'],
  ['\\[', '\\]'],
] as const;
const inlineMarks = [...displayMarks, ['\\(', '\\)'], ['$', '$']] as const;

/** Position of `close` at or after `from` that is not itself behind a backslash, or -1. */
function findClose(source: string, close: string, from: number): number {
  for (let at = source.indexOf(close, from); at >= 0; at = source.indexOf(close, at + 1)) {
    let slashes = 0;
    while (source[at - 1 - slashes] === '\\') slashes++;
    if (slashes % 2 === 0) return at;
  }
  return -1;
}

/** Pandoc's rule, which keeps "from $5 to $10" plain: no blank inside the dollars, no digit after them. */
function dollarsFit(source: string, content: string, after: number): boolean {
  return content !== '' && !/^\s|\s$/.test(content) && !/[0-9]/.test(source[after] ?? '');
}

const mathInline: RuleInline = (state, silent) => {
  const { src, pos } = state;
  if (src[pos] !== '$' && src[pos] !== '\\') return false;
  const marks = inlineMarks.find(([open]) => src.startsWith(open, pos));
  if (!marks) return false;
  const [open, close] = marks;
  const start = pos + open.length;
  const end = findClose(src, close, start);
  const content = src.slice(start, end < 0 ? undefined : end);
  if (end < 0 && (open === '$' || !(state.env as MathEnv).streaming)) return false;
  if (open === '$' && !dollarsFit(src, content, end + 1)) return false;
  if (!silent) {
    const token = state.push('math_inline', 'math', 0);
    token.content = content;
    token.markup = open;
    token.meta = { display: open === '$$' || open === '\\[', open: end < 0 };
  }
  state.pos = end < 0 ? src.length : end + close.length;
  return true;
};

const mathBlock: RuleBlock = (state, startLine, endLine, silent) => {
  if ((state.sCount[startLine] ?? 0) - state.blkIndent >= 4) return false;
  const begin = (state.bMarks[startLine] ?? 0) + (state.tShift[startLine] ?? 0);
  const first = state.src.slice(begin, state.eMarks[startLine]);
  const marks = displayMarks.find(([open]) => first.startsWith(open));
  if (!marks) return false;
  const [open, close] = marks;

  const lines: string[] = [];
  let line = startLine;
  let end = -1;
  for (; line < endLine; line++) {
    const inside = (state.sCount[line] ?? 0) >= state.blkIndent || state.isEmpty(line);
    if (!inside) break;
    const text =
      line === startLine
        ? first.slice(open.length)
        : state.getLines(line, line + 1, state.blkIndent, false).trim();
    end = findClose(text, close, 0);
    if (end < 0) {
      lines.push(text);
      continue;
    }
    // Words behind the closing mark make it part of a sentence: the inline rule takes it.
    if (!/^\s*[.,;:]?\s*$/.test(text.slice(end + close.length))) return false;
    lines.push(text.slice(0, end));
    break;
  }
  if (end < 0 && !(state.env as MathEnv).streaming) return false;
  if (silent) return true;

  const token = state.push('math_block', 'math', 0);
  token.block = true;
  token.content = lines.join('\n').trim();
  token.markup = open;
  token.map = [startLine, end < 0 ? line : line + 1];
  token.meta = { display: true, open: end < 0 };
  state.line = token.map[1];
  return true;
};
