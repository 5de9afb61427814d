import { expect, it } from 'vitest';
import { detectLocale, translate } from '.';
import { en } from './en';
import { zhCN } from './zh-CN';

const holes = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(String).sort();

it.each(Object.keys(en) as (keyof typeof en)[])('%s takes the same values in both languages', (key) => {
  expect(holes(zhCN[key])).toEqual(holes(en[key]));
});

it('the browser’s order of languages decides', () => {
  expect(detectLocale(['zh-TW', 'en'])).toBe('zh-CN');
  expect(detectLocale(['de-DE', 'en-US', 'zh'])).toBe('en');
  expect(detectLocale(['de', 'zh-Hans'])).toBe('zh-CN');
  expect(detectLocale([])).toBe('en');
});

it('values are put in, and a missing one is seen', () => {
  expect(translate('en', 'thoughtFor', { seconds: 12 })).toBe('Thought for 12 s');
  expect(translate('zh-CN', 'thoughtFor')).toContain('{seconds}');
});
