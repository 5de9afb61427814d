/** One dispatched event of a `text/event-stream` body. */
export interface SseEvent {
  event: string;
  data: string;
}

/**
 * Incremental parser of server-sent events (WHATWG HTML, "Server-sent events"). It takes bytes as they arrive, cut
 * anywhere, even inside a character or between CR and LF. An event that was not ended by a blank line is dropped,
 * as the standard asks.
 */
export class SseParser {
  private readonly decoder = new TextDecoder('utf-8');
  private line = '';
  private lastWasCr = false;
  private event = '';
  private data: string[] = [];

  push(bytes: Uint8Array): SseEvent[] {
    const events: SseEvent[] = [];
    const text = this.decoder.decode(bytes, { stream: true });
    let start = 0;
    for (let i = 0; i < text.length; i++) {
      const char = text[i];
      if (char === '\n' && this.lastWasCr) {
        start = i + 1;
        this.lastWasCr = false;
        continue;
      }
      this.lastWasCr = char === '\r';
      if (char !== '\n' && char !== '\r') continue;
      this.endLine(this.line + text.slice(start, i), events);
      this.line = '';
      start = i + 1;
    }
    this.line += text.slice(start);
    return events;
  }

  private endLine(line: string, events: SseEvent[]): void {
    if (line === '') {
      if (this.data.length > 0) events.push({ event: this.event || 'message', data: this.data.join('\n') });
      this.event = '';
      this.data = [];
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return; // a comment, which servers send to keep a connection open
    const field = colon < 0 ? line : line.slice(0, colon);
    const rest = colon < 0 ? '' : line.slice(colon + 1);
    const value = rest.startsWith(' ') ? rest.slice(1) : rest;
    if (field === 'data') this.data.push(value);
    else if (field === 'event') this.event = value;
  }
}
