export type Theme = 'system' | 'light' | 'dark';
export type Language = 'auto' | 'en' | 'zh-CN';

/** What a person set on this browser. `null` leaves a value to the model's own default. */
export interface Settings {
  systemPrompt: string;
  temperature: number | null;
  topP: number | null;
  maxTokens: number | null;
  theme: Theme;
  language: Language;
  model: string | null;
  sidebarOpen: boolean;
}

export const defaultSettings: Settings = {
  systemPrompt: '',
  temperature: null,
  topP: null,
  maxTokens: null,
  theme: 'system',
  language: 'auto',
  model: null,
  sidebarOpen: true,
};

/** Settings out of what was stored, whatever an older page or a person left there. */
export function readSettings(stored: unknown): Settings {
  const from = typeof stored === 'object' && stored !== null ? (stored as Record<string, unknown>) : {};
  const number = (key: string, low: number, high: number): number | null => {
    const value = from[key];
    return typeof value === 'number' && value >= low && value <= high ? value : null;
  };
  const oneOf = <T extends string>(key: string, choices: readonly T[], fallback: T): T =>
    choices.find((choice) => choice === from[key]) ?? fallback;
  return {
    systemPrompt: typeof from['systemPrompt'] === 'string' ? from['systemPrompt'] : '',
    temperature: number('temperature', 0, 2),
    topP: number('topP', 0.01, 1),
    maxTokens: number('maxTokens', 1, 1_000_000),
    theme: oneOf('theme', ['system', 'light', 'dark'], 'system'),
    language: oneOf('language', ['auto', 'en', 'zh-CN'], 'auto'),
    model: typeof from['model'] === 'string' ? from['model'] : null,
    sidebarOpen: from['sidebarOpen'] !== false,
  };
}
