import { readSettings, type Settings } from '../lib/settings';

const key = 'carronade.settings'; // public/theme.js reads it too

export function loadSettings(): Settings {
  try {
    return readSettings(JSON.parse(localStorage.getItem(key) ?? 'null'));
  } catch {
    return readSettings(null);
  }
}

/** False when the browser forbids storage: the settings then hold until the page is closed. */
export function saveSettings(settings: Settings): boolean {
  try {
    localStorage.setItem(key, JSON.stringify(settings));
    return true;
  } catch {
    return false;
  }
}
