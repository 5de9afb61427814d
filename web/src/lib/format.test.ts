import { expect, it } from 'vitest';
import { ageOf, speed, tokensPerSecond } from './format';
import { defaultSettings, readSettings } from './settings';

it('the first token is not part of the generating time', () => {
  expect(tokensPerSecond(11, 1000)).toBe(10);
  expect(tokensPerSecond(1, 1000)).toBeNull();
  expect(tokensPerSecond(5, 0)).toBeNull();
});

it('speeds have three digits', () => {
  expect([8.314, 23.44, 155.6].map(speed)).toEqual(['8.31', '23.4', '156']);
});

it('ages go by calendar days', () => {
  const now = new Date(2026, 4, 20, 0, 30).getTime();
  const day = 86_400_000;
  expect(ageOf(now, now)).toBe('today');
  expect(ageOf(now - 3_600_000, now)).toBe('yesterday');
  expect(ageOf(now - 3 * day, now)).toBe('week');
  expect(ageOf(now - 20 * day, now)).toBe('month');
  expect(ageOf(now - 300 * day, now)).toBe('older');
});

it('settings survive whatever was stored', () => {
  expect(readSettings(null)).toEqual(defaultSettings);
  expect(readSettings({ temperature: 'hot', topP: 9, theme: 'pink', language: 3, systemPrompt: {} })).toEqual(
    defaultSettings,
  );
  expect(readSettings({ temperature: 0, theme: 'dark', maxTokens: 64 })).toEqual({
    ...defaultSettings,
    temperature: 0,
    theme: 'dark',
    maxTokens: 64,
  });
});
