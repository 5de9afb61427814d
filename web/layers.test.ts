import { ESLint } from 'eslint';
import { describe, expect, it } from 'vitest';

// The storeys are only as good as the rule that holds them: this asks ESLint itself.
const eslint = new ESLint({ cwd: import.meta.dirname ?? process.cwd() });

async function complaints(file: string, from: string): Promise<number> {
  const source = `import { x } from '${from}';\nexport const y = x;\n`;
  const code = file.endsWith('.svelte')
    ? `<script lang="ts">\n${source.replace('export ', '')}</script>\n{y}\n`
    : source;
  const [result] = await eslint.lintText(code, { filePath: file });
  return result?.messages.filter(({ ruleId }) => ruleId === 'no-restricted-imports').length ?? -1;
}

// The first question loads ESLint and all its parsers.
describe('imports go down only', { timeout: 60_000 }, () => {
  it.each([
    ['src/lib/x.ts', '../services/api'],
    ['src/lib/markdown/x.ts', '../../stores/chats.svelte'],
    ['src/services/x.ts', '../stores/chats.svelte'],
    ['src/stores/x.svelte.ts', '../components/Icon.svelte'],
    ['src/components/X.svelte', '../routes/App.svelte'],
  ])('%s may not import %s', async (file, from) => {
    expect(await complaints(file, from)).toBe(1);
  });

  it.each([
    ['src/routes/X.svelte', '../components/Icon.svelte'],
    ['src/components/X.svelte', './Icon.svelte'],
    ['src/components/X.svelte', '../lib/chat'],
    ['src/stores/x.svelte.ts', '../services/api'],
    ['src/services/x.ts', '../lib/sse'],
  ])('%s may import %s', async (file, from) => {
    expect(await complaints(file, from)).toBe(0);
  });
});
