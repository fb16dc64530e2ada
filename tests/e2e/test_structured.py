"""Structured output of the embedded model, through the real SDK."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import jsonschema
import openai
import pytest
from pydantic import BaseModel, Field

MODEL = "rwkv-embedded"
QUESTION = [{"role": "user", "content": "Tell me about a dog."}]


class Dog(BaseModel):
    """What the SDK makes a strict schema of."""

    kind: Literal["poodle", "terrier"]
    age: int = Field(ge=0, le=30)
    names: list[Literal["Rex", "Bello"]] = Field(max_length=2)


SCHEMAS = [
    Dog.model_json_schema() | {"additionalProperties": False},
    {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 4},
    {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
]


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)


def chat(client, seed=1, **changes):
    arguments = {"model": MODEL, "messages": QUESTION, "max_tokens": 300, "seed": seed}
    return client.chat.completions.create(**arguments | {"temperature": 2} | changes)


def of_schema(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


@pytest.mark.parametrize("schema", SCHEMAS, ids=["dog", "list", "date"])
def test_json_is_always_valid_and_the_same_alone_and_streamed(client, schema):
    def answer(seed, **changes):
        return chat(client, seed, response_format=of_schema(schema), **changes)

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(answer, range(16)))
    for answered in together:
        assert answered.choices[0].finish_reason == "stop"
        jsonschema.validate(json.loads(answered.choices[0].message.content), schema)
    alone = answer(5).choices[0].message.content
    streamed = "".join(
        chunk.choices[0].delta.content or "" for chunk in answer(5, stream=True) if chunk.choices
    )
    assert alone == streamed == together[5].choices[0].message.content


def test_the_sdk_parses_into_a_pydantic_model(client):
    arguments = {"model": MODEL, "messages": QUESTION, "max_tokens": 200, "temperature": 2}
    for seed in range(3):
        parsed = client.chat.completions.parse(**arguments, seed=seed, response_format=Dog)
        assert isinstance(parsed.choices[0].message.parsed, Dog)
        with client.chat.completions.stream(**arguments, seed=seed, response_format=Dog) as stream:
            last = stream.get_final_completion()
        assert last.choices[0].message.parsed == parsed.choices[0].message.parsed


def test_any_object(client):
    answer = chat(client, response_format={"type": "json_object"}, temperature=1, seed=3)
    text = answer.choices[0].message.content
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)
    else:
        assert text.startswith("{")


@pytest.mark.parametrize("n", [1, 3])
def test_regexes_choices_and_grammars(client, n):
    def answers(**fields):
        return [choice.message.content for choice in chat(client, n=n, extra_body=fields).choices]

    assert all(
        re.fullmatch("[A-Z][a-z]{2,8}!", t) for t in answers(guided_regex="[A-Z][a-z]{2,8}!")
    )
    assert set(answers(guided_choice=["yes", "no"])) <= {"yes", "no"}
    gbnf = 'root ::= "The " ("dog" | "cat") " is " [a-z]{3} "."'
    lark = 'start: "The " ("dog" | "cat") " is " /[a-z]{3}/ "."'
    for text in answers(grammar=gbnf) + answers(guided_grammar=lark):
        assert re.fullmatch("The (dog|cat) is [a-z]{3}\\.", text)


def test_completions_say_it_exactly(client):
    answer = client.completions.create(
        model=MODEL,
        prompt=["The dog is", "The cat is"],
        max_tokens=50,
        temperature=2,
        extra_body={"structured_outputs": {"regex": " [a-z]{3}\\."}},
    )
    assert all(re.fullmatch(" [a-z]{3}\\.", choice.text) for choice in answer.choices)
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}


def test_a_grammar_that_fails_while_it_generates_is_the_clients_mistake(client):
    many = "start: " + " | ".join(f"/a{number}.*/" for number in range(1500))
    with pytest.raises(openai.BadRequestError) as refused:
        chat(client, extra_body={"guided_grammar": many})
    assert refused.value.code == "grammar_error"
    assert chat(client, max_tokens=3).choices[0].message.content
