import { en, type Texts } from './en';
import { zhCN } from './zh-CN';

export type TextKey = keyof Texts;
export type Locale = 'en' | 'zh-CN';

const texts: Record<Locale, Texts> = { en, 'zh-CN': zhCN };

/** The first of a browser's languages that the page speaks; traditional Chinese readers also get the Chinese texts. */
export function detectLocale(languages: readonly string[]): Locale {
  for (const language of languages) {
    if (/^zh\b/i.test(language)) return 'zh-CN';
    if (/^en\b/i.test(language)) return 'en';
  }
  return 'en';
}

export function translate(
  locale: Locale,
  key: TextKey,
  values: Record<string, string | number> = {},
): string {
  return texts[locale][key].replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}
