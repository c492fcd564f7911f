"""The language of the scenario table: steps, what they want of an answer, what they keep for later steps.

Values may hold `${name}`: what an earlier step saved, or what the run gives (`n`, a prefix of the run's own).
Paths into answers are JMESPath. The same table is driven through every client, so that it names nothing that
only one client has; times and bytes are compared by value, however a client shows them.
"""

import base64
import dataclasses
import datetime
import email.utils
import re

import jmespath

REFERENCE = re.compile(r"\$\{(\w+)\}")


class Want:
    """What a value must be like."""

    def __init__(self, text, fits):
        self.text = text
        self.fits = fits

    def __repr__(self):
        return self.text


def instant(value):
    """A time as any client shows it, or nothing."""
    try:
        if isinstance(value, datetime.datetime):
            return value if value.tzinfo else None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            # The Logs service counts milliseconds, all others seconds.
            return datetime.datetime.fromtimestamp(value / (1000 if value > 1e11 else 1), datetime.timezone.utc)
        if isinstance(value, str):
            return email.utils.parsedate_to_datetime(value) if "," in value else datetime.datetime.fromisoformat(value)
    except ValueError:
        pass
    return None


def is_now(value):
    found = instant(value)
    return found is not None and abs(datetime.datetime.now(datetime.timezone.utc) - found) < datetime.timedelta(hours=1)


def content_of(value):
    """Bytes as any client shows them: as they are, or in base64."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            return value.encode()
    return None


NOW = Want("<a time within the hour>", is_now)
TEXT = Want("<a text>", lambda value: isinstance(value, str) and value.strip() != "")
TRUE = Want("<true>", lambda value: value is True)
FALSE = Want("<false>", lambda value: value is False)
# An empty list may be left out of an answer; a client then has nothing, or an empty list of its own.
NOTHING = Want("<nothing>", lambda value: value is None or value == [] or value == {} or value == "")


SOME = Want("<something>", lambda value: value is not None and value != [] and value != {})


def length(number):
    return Want(f"<{number} items>", lambda value: isinstance(value, (list, dict)) and len(value) == number)


def at_least(number):
    return Want(f"<{number} or more>", lambda value: isinstance(value, (int, float)) and value >= number)


def one_of(*choices):
    return Want(f"<one of {choices}>", lambda value: value in choices)


def matching(pattern):
    return Want(f"<{pattern}>", lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None)


def content(expected):
    expected = expected.encode() if isinstance(expected, str) else expected
    return Want(f"<the bytes {expected!r}>", lambda value: content_of(value) == expected or value == expected.decode())


class Has(Want):
    """A list with this item in it; the item may hold references."""

    def __init__(self, item):
        super().__init__(f"<a list with {item!r}>", lambda value: isinstance(value, list) and item in value)
        self.item = item


@dataclasses.dataclass
class Step:
    service: str
    operation: str
    parameters: dict
    want: dict
    save: dict
    until: dict
    refused: str | None
    as_user: bool
    setup: bool
    number: int = 0

    def __str__(self):
        return f"{self.service} #{self.number} {self.operation}"


class Table:
    """The steps of one service, in their order."""

    def __init__(self, service):
        self.service = service
        self.steps = []

    def __call__(self, operation, parameters=None, want=None, save=None, until=None, refused=None, by=None,
                 as_user=False, setup=False):
        """`by` calls another service; `refused` is the code that must come; `until` repeats a call that only
        reads; `as_user` signs as the user whose keys a step saved as `user_key` and `user_secret`; `setup` is
        always done by boto3, for what another client would not show."""
        step = Step(by or self.service, operation, parameters or {}, want or {}, save or {}, until or {}, refused,
                    as_user, setup, len(self.steps))
        self.steps.append(step)
        return step

    def operations(self):
        """What the scenario itself exercises, refusals apart."""
        return {(step.service, step.operation) for step in self.steps if not (step.refused or step.setup)}


class Missing(Exception):
    """A reference to what no step has told."""

    def __init__(self, name):
        super().__init__(f"no earlier step told {name}")
        self.name = name


class Known(dict):
    def __missing__(self, name):
        raise Missing(name)


def resolve(value, known):
    """`value` with every reference replaced; a value that is nothing but one reference keeps its type."""
    if isinstance(value, str):
        whole = REFERENCE.fullmatch(value)
        if whole:
            return known[whole[1]]
        return REFERENCE.sub(lambda found: str(known[found[1]]), value)
    if isinstance(value, dict):
        return {key: resolve(inner, known) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolve(inner, known) for inner in value]
    if isinstance(value, Has):
        return Has(resolve(value.item, known))
    return value


class Hidden(str):
    """What was in the answer and the client does not show."""


def fits(expected, found):
    if isinstance(found, Hidden):
        return True
    return expected.fits(found) if isinstance(expected, Want) else expected == found


def wrong_with(want, answer, known):
    """The wants that the answer does not meet, as sentences."""
    told = []
    for path, expected in want.items():
        expected = resolve(expected, known)
        path = resolve(path, known)
        found = jmespath.search(path, answer)
        if not fits(expected, found):
            told.append(f"{path} is {found!r}, not {expected!r}")
    return told
