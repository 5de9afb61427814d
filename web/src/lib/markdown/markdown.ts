import MarkdownIt from 'markdown-it';
import cjkFriendly from 'markdown-it-cjk-friendly';
import { highlight, highlighterReady, languageName, loadHighlighter } from './highlight';
import { loadMath, mathReady, renderMath } from './math-render';
import { mathSyntax } from './math-syntax';

export interface RenderOptions {
  /** More text is coming: formulas without an end are typeset as far as they go. */
  streaming: boolean;
  /** Label of the button on a code block. */
  copyLabel: string;
}

interface Env extends RenderOptions {
  references?: unknown;
}

/** Markup the browser still has to sanitise (see sanitize.ts), one string for each top-level block. */
export function renderBlocks(source: string, options: RenderOptions): string[] {
  const env: Env = { ...options };
  const tokens = md.parse(source, env);
  const blocks: string[] = [];
  let start = 0;
  let depth = 0;
  tokens.forEach((token, index) => {
    depth += token.nesting;
    if (depth > 0) return;
    blocks.push(md.renderer.render(tokens.slice(start, index + 1), md.options, env));
    start = index + 1;
  });
  return blocks;
}

/** Fetches what `source` needs beyond plain markdown; resolves to whether anything new arrived. */
export async function loadExtras(source: string): Promise<boolean> {
  const waiting: Promise<void>[] = [];
  if (!mathReady() && /\\\(|\\\[|\$/.test(source)) waiting.push(loadMath());
  if (!highlighterReady() && /```|~~~/.test(source)) waiting.push(loadHighlighter());
  await Promise.all(waiting);
  return waiting.length > 0;
}

// Raw HTML stays off: what looks like a tag in an answer is text about a tag.
const md = new MarkdownIt({ html: false, linkify: true, breaks: false, typographer: false });
md.use(mathSyntax);
// Without it, **粗体：**后面 stays a row of asterisks: CommonMark looks for blanks that Chinese does not write.
md.use(cjkFriendly);
md.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
const escapeHtml = md.utils.escapeHtml.bind(md.utils);

md.renderer.rules['math_inline'] = md.renderer.rules['math_block'] = (tokens, index) => {
  const token = tokens[index];
  if (!token) return '';
  const { display, open } = token.meta as { display: boolean; open: boolean };
  const html = renderMath(token.content, display, open);
  const tag = token.block ? 'div' : 'span';
  const style = display ? 'math-display' : 'math-inline';
  if (html !== undefined) return `<${tag} class="${style}">${html}</${tag}>`;
  return `<${tag} class="${style} math-source">${escapeHtml(token.content)}</${tag}>`;
};

function codeBlock(code: string, info: string, env: Env): string {
  const language = info.trim().split(/\s+/)[0] ?? '';
  const body = highlight(code, language.toLowerCase()) ?? escapeHtml(code);
  return (
    `<div class="code-block"><div class="code-head"><span>${escapeHtml(languageName(language))}</span>` +
    `<button type="button" class="code-copy">${escapeHtml(env.copyLabel)}</button></div>` +
    `<pre tabindex="0"><code>${body}</code></pre></div>`
  );
}
md.renderer.rules.fence = (tokens, index, _options, env: Env) =>
  codeBlock(tokens[index]?.content ?? '', md.utils.unescapeAll(tokens[index]?.info ?? ''), env);
md.renderer.rules.code_block = (tokens, index, _options, env: Env) =>
  codeBlock(tokens[index]?.content ?? '', '', env);

md.renderer.rules.table_open = () => '<div class="table-scroll" tabindex="0"><table>';
md.renderer.rules.table_close = () => '</table></div>';

md.renderer.rules.link_open = (tokens, index, options, _env, self) => {
  tokens[index]?.attrSet('target', '_blank');
  tokens[index]?.attrSet('rel', 'noopener noreferrer nofollow');
  return self.renderToken(tokens, index, options);
};

// A picture from elsewhere would tell that place who reads what: it becomes a link.
md.renderer.rules.image = (tokens, index) => {
  const token = tokens[index];
  const source = token?.attrGet('src') ?? '';
  const label = token?.content === '' ? source : (token?.content ?? source);
  return `<a href="${escapeHtml(source)}" target="_blank" rel="noopener noreferrer nofollow">${escapeHtml(label)}</a>`;
};
