"""Which of the choices that were generated are returned."""

from server.api.choices import GeneratedChoice
from server.api.plan import Plan


def best_choices(plan: Plan, choices: list[GeneratedChoice]) -> list[GeneratedChoice]:
    """Of each prompt the n whose tokens have the highest mean log-probability, the best first.

    All of them, in order, if there are no more than n.
    """
    made = plan.choices_per_prompt
    if made == plan.returned:
        return choices
    best: list[GeneratedChoice] = []
    for first in range(0, len(choices), made):
        of_prompt = choices[first : first + made]
        best += sorted(of_prompt, key=lambda choice: -choice.mean_logprob)[: plan.returned]
    return best
