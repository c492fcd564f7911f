"""What AWS answers to an input, by the model alone: an independent second opinion on the server's validation.

The texts were taken from answers that AWS gave, as people reported them:
- a violated constraint: https://github.com/SWO-GS/auto-tag/issues/90 (a scalar), issue 77 there (a map's values),
  https://github.com/hashicorp/terraform-provider-aws/issues/41023 (several; CodePipeline repeats no value);
- a wrong type in JSON: https://github.com/mhart/dynalite/blob/main/test/helpers.js (its `assertType` ran against
  AWS), and the same texts measured with other services since;
- a malformed list in a form: "Unexpected list element termination", as SES and Route 53 report it;
- names and paths of IAM: https://github.com/app-sre/qontract-reconcile/pull/2640 (userName),
  https://github.com/aws-cloudformation/cfn-lint/pull/782 (path).

Which code a violated constraint has: `ValidationError` in the query protocol (IAM, STS), the service's own
`InvalidParameterException` for operations of CloudWatch Logs that declare it, `ValidationException` everywhere else.
"""

import base64
import binascii
import collections
import dataclasses
import re

from . import strings
from .inputs import Time
from .model import QUERY, SCALARS

Problem = collections.namedtuple("Problem", "value path constraint")
# A value that the oracle does not spell out.
ANY = "\u2026"
NO_VALUES = {"codepipeline"}
LONGEST_SHOWN = 1024
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

NAME = "It must contain only alphanumeric characters and/or the following: +=,.@_-"
PATH = "It must begin and end with / and contain only alphanumeric characters and/or / characters."
IAM_PATTERNS = {
    r"[\w+=,.@-]+": NAME,
    r"(\u002F)|(\u002F[\u0021-\u007E]+\u002F)": PATH,
    r"((/[A-Za-z0-9\.,\+@=_-]+)*)/": PATH,
}


@dataclasses.dataclass(frozen=True)
class Refusal:
    code: str
    # One of: an exact text, the problems that the text must list, or nothing that is known.
    text: str | None = None
    problems: tuple = ()


class WrongType(Exception):
    pass


# ---- types -----------------------------------------------------------------------------------------------------

NAMES = {"string": "a String", "integer": "an Integer", "long": "a Long", "float": "a Float", "double": "a Double",
         "boolean": "a Boolean", "blob": "a Blob", "timestamp": "milliseconds since epoch"}


def token(value):
    match value:
        case bool():
            return "TRUE_VALUE" if value else "FALSE_VALUE"
        case int() | float() | Time():
            return "NUMBER_VALUE"
        case str() | bytes():
            return "STRING_VALUE"


def is_of(kind, value):
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer" | "long":
            limit = 1 << (31 if kind == "integer" else 63)
            whole = isinstance(value, int) and not isinstance(value, bool)
            return whole and -limit <= value < limit
        case "timestamp":
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return abs(value) < 1e11
            return isinstance(value, Time) or isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value)
        case "blob":
            if isinstance(value, str):
                try:
                    base64.b64decode(value, validate=True)
                except binascii.Error:
                    return False
            return isinstance(value, (str, bytes))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def typed(model, shape, value):
    """Raises AWS's text for the first value of another type."""
    kind = model.kind(shape)
    if value is None:
        return
    if isinstance(value, list) and kind != "list":
        raise WrongType("Start of list found where not expected")
    if isinstance(value, dict) and kind not in ("structure", "map"):
        raise WrongType("Start of structure or map found where not expected.")
    if kind in SCALARS:
        if not is_of(kind, value):
            raise WrongType(f"{token(value)} can not be converted to {NAMES[kind]}")
    elif not isinstance(value, (list, dict)):
        raise WrongType({"list": "Expected list or null", "map": "Expected map or null",
                         "structure": "Expected null"}[kind])
    elif kind == "list":
        for item in value:
            typed(model, model.shapes[shape]["member"]["shape"], item)
    elif kind == "map":
        for item in value.values():
            typed(model, model.shapes[shape]["value"]["shape"], item)
    else:
        for name, item in value.items():
            if name in model.members(shape):
                typed(model, model.members(shape)[name]["shape"], item)


# ---- constraints -----------------------------------------------------------------------------------------------


def lower(name):
    return name[:1].lower() + name[1:]


def bounds(what, size, limits):
    if size > limits.get("max", size):
        yield f"Member must have {what} less than or equal to {limits['max']}"
    if size < limits.get("min", size):
        yield f"Member must have {what} greater than or equal to {limits['min']}"


def scalar(limits, value):
    """The constraints of a scalar that `value` violates."""
    match limits["type"]:
        case "string":
            yield from bounds("length", len(value), limits)
            if "pattern" in limits and not strings.matches(limits["pattern"], value):
                yield f"Member must satisfy regular expression pattern: {limits['pattern']}"
            if limits.get("enum") and value not in limits["enum"]:
                yield f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]"
        case "integer" | "long":
            yield from bounds("value", value, limits)
        case "blob":
            content = base64.b64decode(value) if isinstance(value, str) else value
            yield from bounds("length", len(content), limits)


def listed(limits):
    """All constraints of a scalar's shape, as they are told for a list's items and a map's keys and values."""
    what = "value" if limits["type"] in ("integer", "long") else "length"
    found = [f"Member must have {what} {words} than or equal to {limits[key]}"
             for key, words in (("max", "less"), ("min", "greater")) if key in limits]
    if "pattern" in limits:
        found.append(f"Member must satisfy regular expression pattern: {limits['pattern']}")
    if limits.get("enum"):
        found.append(f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]")
    return ", ".join(found)


def secret(model, shape, depth=0):
    limits = model.shapes[shape]
    if limits.get("sensitive"):
        return True
    inner = [limits[key]["shape"] for key in ("member", "key", "value") if key in limits]
    inner += [member["shape"] for member in limits.get("members", {}).values()]
    return depth < 8 and any(secret(model, one, depth + 1) for one in inner)


def shown(model, shape, value):
    """The value as the text repeats it; None where the text has none."""
    if model.name in NO_VALUES or secret(model, shape):
        return None
    match value:
        case bool() | float() | bytes() | Time():
            return ANY
        case list() if all(isinstance(item, str) for item in value):
            text = f"[{', '.join(value)}]"
        case dict() if all(isinstance(item, str) for item in value.values()) and model.kind(shape) == "map":
            text = "{" + ", ".join(f"{key}={item}" for key, item in value.items()) + "}"
        case str() | int():
            text = str(value)
        case _:
            return ANY
    return text if len(text) <= LONGEST_SHOWN else ANY


def violations(model, shape, value, path=""):
    limits, kind = model.shapes[shape], model.kind(shape)

    def problem(constraint, at=path, what=value, of=shape):
        return Problem("null" if what is None else shown(model, of, what), at, constraint)

    def step(name):
        return f"{path}.{name}" if path else name

    if kind == "structure":
        for name in model.members(shape):
            inner = value.get(name)
            if inner is not None:
                yield from violations(model, model.members(shape)[name]["shape"], inner, step(lower(name)))
            elif name in model.required(shape):
                yield problem("Member must not be null", step(lower(name)), None)
        if limits.get("union") and sum(one is not None for one in value.values()) != 1:
            yield Problem(None, path, "Member must have exactly one of its members set")
    elif kind == "list":
        inner = limits["member"]["shape"]
        plain = model.kind(inner) in SCALARS
        yield from (problem(text) for text in bounds("length", len(value), limits))
        for index, item in enumerate(value, 1):
            if item is None:
                yield problem("Member must not be null", step(f"{index}.member"), None)
            elif not plain:
                yield from violations(model, inner, item, step(f"{index}.member"))
        if plain and any(list(scalar(model.shapes[inner], item)) for item in value if item is not None):
            yield problem(f"Member must satisfy constraint: [{listed(model.shapes[inner])}]")
    elif kind == "map":
        key, inner = model.shapes[limits["key"]["shape"]], limits["value"]["shape"]
        plain = model.kind(inner) in SCALARS
        yield from (problem(text) for text in bounds("length", len(value), limits))
        for name, item in value.items():
            if item is None:
                yield problem("Member must not be null", step(f"{name}.member"), None)
            elif not plain:
                yield from violations(model, inner, item, step(f"{name}.member"))
        if any(list(scalar(key, name)) for name in value):
            yield problem(f"Map keys must satisfy constraint: [{listed(key)}]")
        if plain and any(list(scalar(model.shapes[inner], item)) for item in value.values() if item is not None):
            yield problem(f"Map value must satisfy constraint: [{listed(model.shapes[inner])}]")
    else:
        yield from (problem(text) for text in scalar(limits, value))


def special(model, operation, problems, value):
    """IAM's own words for names and paths, told where nothing else is wrong."""
    own, rest = [], []
    for problem in problems:
        pattern = problem.constraint.removeprefix("Member must satisfy regular expression pattern: ")
        top = any(lower(name) == problem.path for name in model.members(model.input(operation)))
        if model.name == "iam" and top and pattern in IAM_PATTERNS:
            own.append(f"The specified value for {problem.path} is invalid. {IAM_PATTERNS[pattern]}")
        else:
            rest.append(problem)
    return (own[0] if own and not rest else None), rest


def code(model, operation, protocol):
    if protocol == QUERY:
        return "ValidationError"
    declared = model.errors(operation)
    if "InvalidParameterException" in declared and "ValidationException" not in declared:
        return "InvalidParameterException"
    return "ValidationException"


def judge(model, operation, protocol, value):
    """What the answer to an input must be: a refusal, or None when the model has nothing against it."""
    shape = model.input(operation)
    if shape is None:
        return None
    try:
        if protocol != QUERY:
            typed(model, shape, value)
    except WrongType as wrong:
        return Refusal("SerializationException", str(wrong))
    problems = list(violations(model, shape, value))
    if protocol == QUERY:
        # XML has no place for them.
        problems = [problem._replace(value=problem.value and CONTROLS.sub("\ufffd", problem.value)) for problem in problems]
    text, problems = special(model, operation, problems, value)
    if text:
        return Refusal(code(model, operation, protocol), text)
    return Refusal(code(model, operation, protocol), problems=tuple(problems)) if problems else None


# ---- comparing -------------------------------------------------------------------------------------------------

ONE = re.compile(r"Value(?: (?P<null>null)| '(?P<value>.*?)')? at '(?P<path>[^']*)' failed to satisfy constraint: ", re.S)


def read(text):
    """The problems that a text lists; None when it is no such text."""
    start = re.match(r"(\d+) validation errors? detected: ", text)
    if not start:
        return None
    count, rest, found = int(start[1]), text[start.end():], []
    marks = list(ONE.finditer(rest))
    for mark, following in zip(marks, [*marks[1:], None]):
        constraint = rest[mark.end():following.start() if following else len(rest)].removesuffix("; ")
        found.append(Problem("null" if mark["null"] else mark["value"], mark["path"], constraint))
    well = len(found) == count and start[0].split()[2] == ("error" if count == 1 else "errors")
    return found if well else None


def agrees(refusal, code, text):
    """Whether an answer's code and text are the refusal's."""
    if code != refusal.code:
        return False
    if refusal.text is not None:
        return text == refusal.text
    if not refusal.problems:
        return True
    found = read(text)
    if found is None or len(found) != len(refusal.problems):
        return False

    def same(one, other):
        return one.path == other.path and one.constraint == other.constraint and other.value in (one.value, ANY)

    return all(any(same(one, other) for one in found) for other in refusal.problems)
