"""For schemathesis: answers stay short, or the run would be the model's and not the server's; and no background job is asked for, which gets
a 503 where its model is not loaded."""
import schemathesis

MOST_TOKENS, MOST_ANSWERS = 3, 2


def at_most(body: dict, name: str, most: int, taken: int) -> None:
    """Numbers above `taken` are refused, and stay as they are. 110.0 is an integer, too."""
    value = body.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and most < value <= taken:
        body[name] = most


@schemathesis.hook
def before_call(context, case, kwargs):
    if not isinstance(case.body, dict):
        return
    for name in ("max_tokens", "max_completion_tokens"):
        at_most(case.body, name, MOST_TOKENS, 2**31 - 1)
    if case.body.get("service_tier") == "flex":
        case.body["service_tier"] = "default"
    for name in ("n", "best_of"):
        at_most(case.body, name, MOST_ANSWERS, 128)
