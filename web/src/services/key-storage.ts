/** The server's key, where it asks for one. Kept in this browser, and sent to the page's own origin only. */
const name = 'carronade.key';

let key = load();

function load(): string {
  try {
    return localStorage.getItem(name) ?? '';
  } catch {
    return '';
  }
}

export function setKey(text: string): void {
  key = text.trim();
  try {
    localStorage.setItem(name, key);
  } catch {
    // Without storage it holds until the page is closed.
  }
}

export function authorization(): Record<string, string> {
  return key ? { Authorization: `Bearer ${key}` } : {};
}
