import type * as katexModule from 'katex';

type Katex = typeof katexModule.default;

let katex: Katex | undefined;
let loading: Promise<void> | undefined;

/** Fetches KaTeX and its style sheet, once; until then formulas are shown as their source. */
export function loadMath(): Promise<void> {
  loading ??= import('./katex').then(
    (module) => {
      katex = module.katex;
    },
    () => {
      loading = undefined;
    },
  );
  return loading;
}

export function mathReady(): boolean {
  return katex !== undefined;
}

const cache = new Map<string, string>();

/**
 * TeX → HTML with MathML for screen readers. `open` is a formula whose end has not arrived: as much of it as makes
 * sense is typeset. Undefined when KaTeX is not loaded yet or nothing could be typeset.
 */
export function renderMath(tex: string, display: boolean, open: boolean): string | undefined {
  if (!katex) return undefined;
  if (open) return renderOpen(tex, display);
  const key = (display ? 'D' : 'I') + tex;
  let html = cache.get(key);
  if (html === undefined) {
    html = toHtml(tex, display);
    if (html === undefined) return undefined;
    if (cache.size > 500) cache.clear();
    cache.set(key, html);
  }
  return html;
}

function toHtml(tex: string, display: boolean): string | undefined {
  const options: katexModule.KatexOptions = {
    displayMode: display,
    throwOnError: true,
    strict: false,
    trust: false,
    maxExpand: 200,
  };
  try {
    // The TeX source inside MathML's <annotation> would be read out after the formula once <semantics> is sanitised away.
    return katex?.renderToString(tex, options).replace(/<annotation[^>]*>[\s\S]*?<\/annotation>/g, '');
  } catch {
    return undefined;
  }
}

function renderOpen(tex: string, display: boolean): string | undefined {
  let rest = tex.trimEnd();
  for (let attempt = 0; attempt < 12 && rest !== ''; attempt++) {
    const html = toHtml(closeTex(rest), display);
    if (html !== undefined) return html;
    rest = dropLastToken(rest);
  }
  return undefined;
}

/** Ends the groups, `\left` pairs and environments that are still open, innermost first. */
export function closeTex(tex: string): string {
  const closers: string[] = [];
  const token = /\\begin\{([^}]*)\}|\\[dt]?(?:frac|binom)\s*\{|\\end\{[^}]*\}|\\left\b|\\right\b|\\[^]|[{}]/g;
  for (const match of tex.matchAll(token)) {
    const text = match[0];
    if (text.startsWith('\\begin')) closers.push(`\\end{${match[1] ?? ''}}`);
    else if (text === '\\left') closers.push('\\right.');
    else if (text === '{') closers.push('}');
    else if (/frac|binom/.test(text))
      closers.push('}{}'); // its second argument has not begun
    else if (text === '}' || text === '\\right' || text.startsWith('\\end')) closers.pop();
  }
  return tex + closers.reverse().join('');
}

/** Without its last command, brace or character. */
export function dropLastToken(tex: string): string {
  return tex.replace(/(\\[a-zA-Z]*|\\[^]|[^])$/, '').trimEnd();
}
