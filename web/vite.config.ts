/// <reference types="vitest/config" />
import { svelte } from '@sveltejs/vite-plugin-svelte';
import tailwindcss from '@tailwindcss/vite';
import { defineConfig, type Plugin } from 'vite';

/** Every browser this page supports reads woff2, so the other two formats of each KaTeX font only cost bytes. */
function woff2Only(): Plugin {
  return {
    name: 'woff2-only',
    enforce: 'pre',
    transform(code, id) {
      if (!/katex.*\.css($|\?)/.test(id)) return null;
      return { code: code.replace(/,\s*url\([^)]*\.(woff|ttf)\)\s*format\([^)]*\)/g, ''), map: null };
    },
  };
}

export default defineConfig(({ mode }) => ({
  plugins: [woff2Only(), tailwindcss(), svelte()],
  build: {
    target: 'es2022',
    // The page's Content-Security-Policy allows fonts and scripts from its own origin only: nothing becomes a data: URL.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // Swagger UI, loaded by the API's page alone.
    chunkSizeWarningLimit: 1500,
    rollupOptions: { input: ['index.html', 'docs.html'] },
  },
  server: {
    // `npm run dev` beside a running `carronade serve`.
    proxy: Object.fromEntries(
      ['/v1', '/health', '/openapi.json', '/tokenize', '/detokenize'].map((path) => [
        path,
        process.env['CARRONADE_URL'] ?? 'http://127.0.0.1:8000',
      ]),
    ),
  },
  // Svelte's runes need its browser build when stores are tested.
  ...(mode === 'test' ? { resolve: { conditions: ['browser'] } } : {}),
  test: { include: ['src/**/*.test.ts', '*.test.ts'], environment: 'node' },
}));
