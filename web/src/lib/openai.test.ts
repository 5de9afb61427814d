import { describe, expect, it } from 'vitest';
import { ChatFailure, failureFrom } from './failure';
import { parseChunk, parseModels } from './openai';

describe('parseChunk', () => {
  it('reads text, and a thought under either name only once', () => {
    expect(parseChunk('{"choices":[{"delta":{"content":"a"}}]}')).toEqual({ content: 'a', reasoning: '' });
    for (const delta of [
      '{"reasoning":"t"}',
      '{"reasoning_content":"t"}',
      '{"reasoning":"t","reasoning_content":"t"}',
    ]) {
      expect(parseChunk(`{"choices":[{"delta":${delta}}]}`).reasoning).toBe('t');
    }
  });

  it('reads the finish and the usage', () => {
    expect(parseChunk('{"choices":[{"delta":{},"finish_reason":"length"}]}').finishReason).toBe('length');
    const usage =
      '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9,"completion_tokens_details":{"reasoning_tokens":4},"prompt_tokens_details":{"cached_tokens":2}}}';
    expect(parseChunk(usage).usage).toEqual({
      promptTokens: 3,
      completionTokens: 9,
      reasoningTokens: 4,
      cachedTokens: 2,
    });
    expect(
      parseChunk('{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}').usage?.cachedTokens,
    ).toBe(0);
  });

  it.each([
    '{}',
    '[]',
    'null',
    '{"choices":null}',
    '{"choices":[{"delta":null}]}',
    '{"choices":[{"delta":{"content":7}}]}',
  ])('takes %s as nothing', (data) => {
    expect(parseChunk(data)).toEqual({ content: '', reasoning: '' });
  });

  it('throws what is not JSON and what is an error', () => {
    expect(() => parseChunk('<html>')).toThrow(ChatFailure);
    expect(() => parseChunk('{"error":{"message":"out of blocks","code":500}}')).toThrow('out of blocks');
  });
});

describe('failureFrom', () => {
  it.each([
    [503, { message: 'loading' }, 'loading'],
    [429, { message: 'slow down' }, 'busy'],
    [400, { message: 'bad', code: 'context_length_exceeded' }, 'context'],
    [400, { message: "This model's maximum context length is 4096 tokens" }, 'context'],
    [404, { message: 'no such model' }, 'refused'],
    [500, { message: 'oops' }, 'server'],
    [502, undefined, 'unreachable'],
    [0, { message: 'in stream', code: 400 }, 'refused'],
    [0, { message: 'in stream' }, 'server'],
    [418, null, 'refused'],
  ])('%i %j is %s', (status, error, kind) => {
    expect(failureFrom(status, error).kind).toBe(kind);
  });
});

it('parseModels keeps what has a name', () => {
  const data = [{ id: 'a', max_model_len: 4096 }, { id: 'b' }, { id: 7 }, null, { id: '' }];
  expect(parseModels({ data })).toEqual([{ id: 'a', maxModelLen: 4096 }, { id: 'b' }]);
  expect(parseModels('nonsense')).toEqual([]);
});
