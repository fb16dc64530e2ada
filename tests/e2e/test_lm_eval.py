"""The evaluation harness asks chats; its scores are those of the answers that others get."""

import json

import pytest

MODEL = "rwkv-embedded"
QUESTIONS = ["Who are you?", "What is a dog?"]


@pytest.mark.slow
def test_answers_of_chats_are_scored(server, tmp_path):
    evaluator = pytest.importorskip("lm_eval.evaluator", reason="pip install lm-eval[api]")
    models = pytest.importorskip("lm_eval.models.openai_completions", reason="lm-eval[api]")
    with server.client() as http:
        answers = []
        for question in QUESTIONS:
            messages = [{"role": "user", "content": question}]
            body = {"messages": messages, "temperature": 0, "max_tokens": 24}
            (choice,) = http.post("/v1/chat/completions", json=body).json()["choices"]
            answers.append(choice["message"]["content"])
    # The first is right, of the second something is missing.
    rows = [
        {"question": QUESTIONS[0], "answer": answers[0]},
        {"question": QUESTIONS[1], "answer": answers[1] + "!"},
    ]
    data = tmp_path / "rows.json"
    data.write_text("\n".join(map(json.dumps, rows)))
    task = {
        "task": "answers",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(tmp_path)},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": [], "max_gen_toks": 24, "temperature": 0},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    model = models.LocalChatCompletion(
        base_url=f"{server.url}/v1/chat/completions", model=MODEL, num_concurrent=2
    )
    results = evaluator.simple_evaluate(
        model, tasks=[task], apply_chat_template=True, bootstrap_iters=0
    )
    found = [sample["resps"][0][0] for sample in results["samples"]["answers"]]
    assert found == answers
    assert results["results"]["answers"]["exact_match,none"] == 0.5
