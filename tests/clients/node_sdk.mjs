// OpenAI's SDK for Node as its readers are shown it. Arguments: the base URL, and the folder that the package is installed in. One line
// of JSON a finding.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [baseURL, folder] = process.argv.slice(2);
const { default: OpenAI } = await import(pathToFileURL(createRequire(`${folder}/`).resolve('openai')));
const client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 });
const messages = [{ role: 'user', content: 'Say hello.' }];
const said = (name, value) => console.log(JSON.stringify([name, value]));

said(
  'models',
  (await client.models.list()).data.map((model) => model.id),
);

const whole = await client.chat.completions.create({
  model: 'tiny',
  messages,
  max_tokens: 12,
  temperature: 0,
});
said('text', whole.choices[0].message.content);
said('usage', whole.usage);

const stream = await client.chat.completions.create({
  model: 'tiny',
  messages,
  max_tokens: 12,
  temperature: 0,
  stream: true,
  stream_options: { include_usage: true },
});
let text = '',
  usage = null;
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? '';
  usage ??= chunk.usage;
}
said('streamed', text);
said('streamed_usage', usage);

// The helper that puts a stream together again checks what it is sent more strictly.
const runner = client.chat.completions.stream({ model: 'tiny', messages, max_tokens: 12, temperature: 0 });
let deltas = '';
runner.on('content', (delta) => (deltas += delta));
const final = await runner.finalChatCompletion();
said('assembled', final.choices[0].message.content);
said('deltas', deltas);

const several = await client.chat.completions.create({
  model: 'tiny',
  messages,
  max_tokens: 8,
  temperature: 1,
  n: 2,
  seed: 5,
});
said(
  'several',
  several.choices.map((choice) => choice.message.content),
);

const rated = await client.chat.completions.create({
  model: 'tiny',
  messages,
  max_tokens: 4,
  temperature: 0,
  logprobs: true,
  top_logprobs: 2,
});
said(
  'rated',
  rated.choices[0].logprobs.content.map((entry) => entry.top_logprobs.length),
);

const legacy = { model: 'tiny', prompt: 'The capital of France is', max_tokens: 4, temperature: 0 };
said('completion', (await client.completions.create(legacy)).choices[0].text);
let piece = '';
for await (const chunk of await client.completions.create({ ...legacy, stream: true }))
  piece += chunk.choices[0].text;
said('completion_streamed', piece);

for (const [name, fields] of [
  ['unknown_model', { model: 'another' }],
  ['bad_field', { temperature: 7000 }],
]) {
  try {
    await client.chat.completions.create({ model: 'tiny', messages, max_tokens: 1, ...fields });
    said(name, 'accepted');
  } catch (error) {
    said(name, { kind: error.constructor.name, status: error.status, param: error.param });
  }
}

const left = await client.chat.completions.create({
  model: 'tiny',
  messages,
  max_tokens: 3000,
  ignore_eos: true,
  stream: true,
});
let seen = 0;
for await (const _ of left) if (++seen === 3) break; // leaving the loop aborts the request
said('left_after', seen);
