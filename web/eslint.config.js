import js from '@eslint/js';
import svelte from 'eslint-plugin-svelte';
import globals from 'globals';
import ts from 'typescript-eslint';
import svelteConfig from './svelte.config.js';

// The page's storeys, highest first. A file may import its own storey and those below it.
const storeys = ['routes', 'components', 'stores', 'services', 'lib'];

const layers = storeys.slice(1).map((storey, index) => ({
  files: [`src/${storey}/**/*.{ts,svelte}`],
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: storeys.slice(0, index + 1).map((above) => ({
          regex: `(^|/)${above}(/|$)`,
          message: `src/${storey}/ may not import from src/${above}/: imports go down ${storeys.join(' → ')}.`,
        })),
      },
    ],
  },
}));

export default ts.config(
  { ignores: ['dist/', 'node_modules/'] },
  js.configs.recommended,
  ...ts.configs.strict,
  ...ts.configs.stylistic,
  ...svelte.configs.recommended,
  {
    languageOptions: { globals: { ...globals.browser, ...globals.node } },
    rules: {
      eqeqeq: 'error',
      'no-undef': 'off', // TypeScript knows better
      'no-console': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
    },
  },
  {
    files: ['**/*.svelte', '**/*.svelte.ts'],
    languageOptions: { parserOptions: { parser: ts.parser, extraFileExtensions: ['.svelte'], svelteConfig } },
    rules: {
      // Markup from a model only enters the page through lib/markdown, which sanitises it.
      'svelte/no-at-html-tags': 'error',
      'prefer-const': 'off',
      'svelte/prefer-const': ['error', { excludedRunes: ['$props', '$state', '$derived', '$bindable'] }],
    },
  },
  ...layers,
);
