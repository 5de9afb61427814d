import { describe, expect, it } from 'vitest';
import { SseParser, type SseEvent } from './sse';

const encoder = new TextEncoder();

function parse(chunks: Uint8Array[]): SseEvent[] {
  const parser = new SseParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
}

const message = (data: string): SseEvent => ({ event: 'message', data });

const stream =
  '\uFEFF: keep-alive\n\ndata: {"a":"你好 🚢"}\n\nevent: note\r\ndata: one\r\ndata:two\r\n\r\n' +
  'id: 7\rdata:  spaced\r\rdata\n\nretry: 5\nunknown: x\n\ndata: [DONE]\n\ndata: never ended';
const expected: SseEvent[] = [
  message('{"a":"你好 🚢"}'),
  { event: 'note', data: 'one\ntwo' },
  message(' spaced'),
  message(''),
  message('[DONE]'),
];

describe('SseParser', () => {
  it('parses a whole stream', () => {
    expect(parse([encoder.encode(stream)])).toEqual(expected);
  });

  it('gives the same events wherever the bytes are split in two', () => {
    const bytes = encoder.encode(stream);
    for (let cut = 0; cut <= bytes.length; cut++) {
      expect(parse([bytes.slice(0, cut), bytes.slice(cut)]), `split at byte ${String(cut)}`).toEqual(
        expected,
      );
    }
  });

  it.each([1, 2, 3, 5, 7])('gives the same events in pieces of %i bytes', (size) => {
    const bytes = encoder.encode(stream);
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.slice(i * size, (i + 1) * size),
    );
    expect(parse(pieces)).toEqual(expected);
  });

  it('hands out an event as soon as its blank line is there', () => {
    const parser = new SseParser();
    expect(parser.push(encoder.encode('data: x\n'))).toEqual([]);
    expect(parser.push(encoder.encode('\n'))).toEqual([message('x')]);
  });

  it('does not wait for the LF of a CRLF, nor count it as a second line end', () => {
    const parser = new SseParser();
    expect(parser.push(encoder.encode('data: x\r\n\r'))).toEqual([message('x')]);
    expect(parser.push(encoder.encode('\ndata: y\r\n\r\n'))).toEqual([message('y')]);
  });

  it('replaces bytes that are not UTF-8 instead of failing', () => {
    expect(parse([encoder.encode('data: '), new Uint8Array([0xff]), encoder.encode('\n\n')])).toEqual([
      message('\uFFFD'),
    ]);
  });
});
