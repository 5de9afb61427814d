import { detectLocale, translate, type Locale, type TextKey } from '../lib/i18n';
import type { Settings } from '../lib/settings';
import { loadSettings, saveSettings } from '../services/settings-storage';

class SettingsStore {
  private values = $state<Settings>(loadSettings());
  /** The language in use: the chosen one, or the browser's. */
  readonly locale: Locale = $derived(
    this.values.language === 'auto' ? detectLocale(navigator.languages) : this.values.language,
  );

  get current(): Readonly<Settings> {
    return this.values;
  }

  change(values: Partial<Settings>): void {
    Object.assign(this.values, values);
    saveSettings($state.snapshot(this.values));
    this.apply();
  }

  /** Puts theme and language on the document. */
  apply(): void {
    const root = document.documentElement;
    root.lang = this.locale;
    if (this.values.theme === 'system') delete root.dataset['theme'];
    else root.dataset['theme'] = this.values.theme;
  }
}

export const settings = new SettingsStore();

/** A text of the page in the language in use. */
export function t(key: TextKey, values?: Record<string, string | number>): string {
  return translate(settings.locale, key, values);
}
