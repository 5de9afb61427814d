"""LangChain's models for OpenAI, as its tutorials use them. Argument: the base URL. One line of JSON a finding."""
import asyncio
import json
import sys

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI, OpenAI
from openai import BadRequestError

BASE = {"base_url": sys.argv[1], "api_key": "none", "model": "tiny", "temperature": 0, "max_retries": 0}


def said(name, value):
    print(json.dumps([name, value]), flush=True)


model = ChatOpenAI(**BASE, max_tokens=12, stream_usage=True)
answer = model.invoke("Say hello.")
said("text", answer.content)
said("usage", answer.usage_metadata)
said("reason", answer.response_metadata["finish_reason"])

chunks = list(model.stream("Say hello."))
said("streamed", "".join(chunk.content for chunk in chunks))
whole = chunks[0]
for chunk in chunks[1:]:
    whole += chunk
said("streamed_usage", whole.usage_metadata)

said("batch", [reply.content for reply in model.batch(["Say hello.", "Say hello."])])
said("async", asyncio.run(model.ainvoke("Say hello.")).content)

chain = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")]) | model | StrOutputParser()
said("chain", chain.invoke({"question": "What is the sea?"}))
turns = [SystemMessage("Be brief."), HumanMessage("Say hello."), AIMessage("Hello!"), HumanMessage("Say it again.")]
said("turns", model.invoke(turns).usage_metadata["input_tokens"])

rated = model.bind(logprobs=True, top_logprobs=2).invoke("Say hello.")
said("rated", [len(entry["top_logprobs"]) for entry in rated.response_metadata["logprobs"]["content"]])
said("stopped", model.bind(stop=["l"]).invoke("Say hello.").content)

text = OpenAI(**BASE, max_tokens=4)
said("completion", text.invoke("The capital of France is"))
said("completion_streamed", "".join(text.stream("The capital of France is")))

try:
    ChatOpenAI(**{**BASE, "temperature": 7000}).invoke("Say hello.")
    said("bad_field", "accepted")
except BadRequestError as error:
    said("bad_field", error.body["param"])
