// A small server for the page's tests: the built page, and the OpenAI paths answered by a script the test gives.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

// The page as the program embeds it, or as `npm run build` left it.
const dist = process.env.CARRONADE_PAGE ?? fileURLToPath(new URL('../../web/dist', import.meta.url));

// The policy that the real server sends.
const policy =
  "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; font-src 'self'; connect-src 'self'";

const types = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** One streamed answer, as the real server frames it. */
class Answer {
  constructor(response) {
    this.response = response;
    /** Settles when the client has gone away before the end. */
    this.abandoned = new Promise((resolve) => {
      response.on('close', () => {
        if (!response.writableFinished) resolve(true);
      });
    });
  }

  send(object) {
    if (!this.response.headersSent) this.response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    const data = typeof object === 'string' ? object : JSON.stringify(object);
    this.response.write(`data: ${data}\n\n`);
  }

  chunk(delta, finish_reason = null) {
    this.send({
      object: 'chat.completion.chunk',
      choices: [{ index: 0, delta, finish_reason }],
    });
  }

  begin() {
    this.chunk({ role: 'assistant', content: '' });
  }

  think(text) {
    this.chunk({ reasoning: text, reasoning_content: text });
  }

  say(text) {
    this.chunk({ content: text });
  }

  /** The text in small pieces, a turn of the event loop apart. */
  async type(text, kind = 'content', delayMs = 0) {
    for (const piece of text.match(/[^]{1,7}/gu) ?? []) {
      if (kind === 'content') this.say(piece);
      else this.think(piece);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
  }

  end(reason = 'stop', usage = {}) {
    this.chunk({}, reason);
    this.send({
      choices: [],
      usage: {
        prompt_tokens: 21,
        completion_tokens: 142,
        completion_tokens_details: { reasoning_tokens: 40 },
        prompt_tokens_details: { cached_tokens: 16 },
        ...usage,
      },
    });
    this.send('[DONE]');
    this.response.end();
  }

  /** Breaks the connection. */
  cut() {
    this.response.destroy();
  }

  refuse(status, error) {
    this.response.writeHead(status, { 'Content-Type': 'application/json' });
    this.response.end(
      JSON.stringify({
        error: { type: 'error', param: null, code: status, ...error },
      }),
    );
  }
}

export class StandIn {
  models = ['qwen2.5-coder-1.5b'];
  healthy = true;
  /** What requests must carry, when it is set. */
  key = '';
  /** Bodies of the chat requests, in the order of their arrival. */
  requests = [];
  /** Paths of everything the page fetched. */
  fetched = [];
  answers = [];
  waiting = [];

  static async start() {
    const standIn = new StandIn();
    standIn.server = createServer((request, response) => void standIn.handle(request, response));
    standIn.server.listen(0, '127.0.0.1');
    await once(standIn.server, 'listening');
    standIn.port = standIn.server.address().port;
    standIn.url = `http://127.0.0.1:${standIn.port}/`;
    return standIn;
  }

  /** The next chat request's answer, for the test to write. */
  next() {
    const answer = this.answers.shift();
    if (answer) return Promise.resolve(answer);
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  async stop() {
    if (!this.server.listening) return;
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  /** Comes back on the same port. */
  async restart() {
    this.server.listen(this.port, '127.0.0.1');
    await once(this.server, 'listening');
  }

  async handle(request, response) {
    const path = new URL(request.url, this.url).pathname;
    this.fetched.push(path);
    if (path === '/health') {
      response.writeHead(this.healthy ? 200 : 503).end();
    } else if (
      path.startsWith('/v1/') &&
      this.key &&
      request.headers.authorization !== `Bearer ${this.key}`
    ) {
      new Answer(response).refuse(401, { message: 'this server asks for a key' });
    } else if (path === '/v1/models') {
      const data = this.models.map((id) => ({
        id,
        object: 'model',
        owned_by: 'carronade',
        max_model_len: 4096,
      }));
      response.writeHead(200, { 'Content-Type': 'application/json' });
      response.end(JSON.stringify({ object: 'list', data }));
    } else if (path === '/v1/chat/completions') {
      await this.chat(request, response);
    } else {
      await this.file(path === '/' ? '/index.html' : path, response);
    }
  }

  async chat(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    this.requests.push(JSON.parse(Buffer.concat(parts).toString('utf8')));
    const answer = new Answer(response);
    const waiting = this.waiting.shift();
    if (waiting) waiting(answer);
    else this.answers.push(answer);
  }

  async file(path, response) {
    try {
      const body = gzipSync(await readFile(join(dist, normalize(path))));
      response.writeHead(200, {
        'Content-Type': types[extname(path)] ?? 'application/octet-stream',
        'Content-Encoding': 'gzip',
        'Content-Length': body.length,
        'Content-Security-Policy': policy,
        'X-Content-Type-Options': 'nosniff',
      });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  }
}
