"""A typed answer by pydantic-ai, by a tool and by a schema of its own."""

import sys

from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class City(BaseModel):
    name: str = Field(max_length=20)  # a small model finds no end
    people: int = Field(ge=0, le=10**8)


provider = OpenAIProvider(base_url=f"{sys.argv[1]}/v1", api_key="none")
model = OpenAIChatModel("rwkv-embedded", provider=provider)
settings = {"max_tokens": 400, "temperature": 0.0, "seed": 1}
for output in (City, NativeOutput(City)):
    answer = Agent(model, output_type=output, model_settings=settings).run_sync("Tell me a city.")
    assert isinstance(answer.output, City), answer
