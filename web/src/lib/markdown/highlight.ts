import type * as languages from './languages';

type Highlighter = typeof languages.highlighter;

let highlighter: Highlighter | undefined;
let loading: Promise<void> | undefined;

/** Fetches the highlighter, once; until then code is shown plain. */
export function loadHighlighter(): Promise<void> {
  loading ??= import('./languages').then(
    (module) => {
      highlighter = module.highlighter;
    },
    () => {
      loading = undefined;
    },
  );
  return loading;
}

export function highlighterReady(): boolean {
  return highlighter !== undefined;
}

/** Longer code is shown plain: colouring it again at every token would cost more than it gives. */
const longestHighlighted = 30_000;

/** Code → HTML with `hljs-` classes; undefined when it stays plain. */
export function highlight(code: string, language: string): string | undefined {
  if (!highlighter || code.length > longestHighlighted || !highlighter.getLanguage(language))
    return undefined;
  return highlighter.highlight(code, { language, ignoreIllegals: true }).value;
}

const names: Record<string, string> = {
  bash: 'Bash',
  c: 'C',
  cpp: 'C++',
  'c++': 'C++',
  cs: 'C#',
  csharp: 'C#',
  css: 'CSS',
  diff: 'Diff',
  go: 'Go',
  html: 'HTML',
  java: 'Java',
  javascript: 'JavaScript',
  js: 'JavaScript',
  json: 'JSON',
  jsx: 'JSX',
  kotlin: 'Kotlin',
  latex: 'LaTeX',
  markdown: 'Markdown',
  md: 'Markdown',
  php: 'PHP',
  py: 'Python',
  python: 'Python',
  rb: 'Ruby',
  ruby: 'Ruby',
  rs: 'Rust',
  rust: 'Rust',
  sh: 'Shell',
  shell: 'Shell',
  sql: 'SQL',
  swift: 'Swift',
  toml: 'TOML',
  ts: 'TypeScript',
  tsx: 'TSX',
  typescript: 'TypeScript',
  xml: 'XML',
  yaml: 'YAML',
  yml: 'YAML',
};

/** What a person calls the language of a code fence. */
export function languageName(language: string): string {
  return names[language.toLowerCase()] ?? language;
}
