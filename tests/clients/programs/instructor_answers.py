"""A typed answer by instructor, in its modes."""

import sys

import instructor
from openai import OpenAI
from pydantic import BaseModel, Field


class City(BaseModel):
    name: str = Field(max_length=20)  # a small model finds no end
    country: str | None = Field(None, max_length=20)


client = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none")
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    city = instructor.from_openai(client, mode=mode).chat.completions.create(
        model="rwkv-embedded",
        response_model=City,
        messages=[{"role": "user", "content": "Tell me a city."}],
        max_tokens=400,
        temperature=0,
        max_retries=0,
    )
    assert isinstance(city, City), city
