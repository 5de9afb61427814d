/** A random name. (`crypto.randomUUID` exists on https and localhost only; this page is also opened over a home network.) */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
