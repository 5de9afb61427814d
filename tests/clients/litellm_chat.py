"""litellm, by the three of its providers that reach a server such as this. Argument: the base URL. One line of JSON a finding."""
import asyncio
import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices
import litellm  # noqa: E402

litellm.suppress_debug_info = True
HELLO = [{"role": "user", "content": "Say hello."}]
BASE = {"api_base": sys.argv[1], "api_key": "none", "max_tokens": 12, "temperature": 0, "num_retries": 0}


def said(name, value):
    print(json.dumps([name, value]), flush=True)


for provider in ("openai", "hosted_vllm"):
    name = f"{provider}/tiny"
    answer = litellm.completion(name, HELLO, **BASE)
    said(f"{provider}.text", answer.choices[0].message.content)
    said(f"{provider}.usage", [answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens])
    chunks = list(litellm.completion(name, HELLO, stream=True, stream_options={"include_usage": True}, **BASE))
    said(f"{provider}.streamed", "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
    said(f"{provider}.assembled", litellm.stream_chunk_builder(chunks, messages=HELLO).choices[0].message.content)
    said(f"{provider}.async", asyncio.run(litellm.acompletion(name, HELLO, **BASE)).choices[0].message.content)
    for case, changes in (("unknown_model", {"model": f"{provider}/another"}), ("bad_field", {"temperature": 7000})):
        try:
            litellm.completion(**{"model": name, "messages": HELLO, **BASE, **changes})
            said(f"{provider}.{case}", "accepted")
        except Exception as error:  # litellm's kinds of error have no common parent
            said(f"{provider}.{case}", type(error).__name__)

# vLLM's own fields go through, beside OpenAI's.
told = litellm.completion("hosted_vllm/tiny", HELLO, **BASE, extra_body={"top_k": 1, "min_tokens": 12, "ignore_eos": True})
said("vllm_fields", told.usage.completion_tokens)

text = {**BASE, "max_tokens": 4}
reply = litellm.text_completion(model="text-completion-openai/tiny", prompt="The capital of France is", **text)
said("completion", reply.choices[0].text)
