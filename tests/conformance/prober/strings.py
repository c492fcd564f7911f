"""Texts that match a model's pattern, of a wanted length, and texts that do not."""

import functools
import re
from re import _constants as ops
from re import _parser as parser

# The classes that Python does not know, as far as the prober's own texts need them.
CLASSES = {"L": "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff", "Z": " \u00a0", "N": "0-9", "P": "!-/:-@_", "S": "$+<=>^`|~",
           "M": "\u0300-\u036f"}
PREFERRED = "aA0x-/._:é"


def python(pattern):
    """A Java pattern as Python reads it."""
    return re.sub(r"\\p\{(?:Is)?([A-Z])\w*\}", lambda found: CLASSES[found[1]], pattern)


@functools.cache
def compiled(pattern):
    return re.compile(python(pattern), re.ASCII)


def matches(pattern, text):
    return compiled(pattern).fullmatch(text) is not None


class Unmakable(Exception):
    pass


def character(items):
    """One character of a class."""
    within = re.compile("|".join(
        {ops.LITERAL: lambda value: re.escape(chr(value)),
         ops.RANGE: lambda value: f"[{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}]",
         ops.CATEGORY: lambda value: {ops.CATEGORY_WORD: r"\w", ops.CATEGORY_DIGIT: r"\d", ops.CATEGORY_SPACE: r"\s",
                                      ops.CATEGORY_NOT_SPACE: r"\S", ops.CATEGORY_NOT_WORD: r"\W"}[value],
         }[op](value) for op, value in items if op is not ops.NEGATE), re.ASCII)
    negated = any(op is ops.NEGATE for op, _ in items)
    candidates = PREFERRED + "".join(map(chr, range(32, 256)))
    found = next((one for one in candidates if bool(within.fullmatch(one)) != negated), None)
    if found is None:
        raise Unmakable
    return found


def make(tree, spare, branch):
    """A text of the tree, its repeats grown by what `spare[0]` has left."""
    out = []
    for op, value in tree:
        if op is ops.LITERAL:
            out.append(chr(value))
        elif op is ops.NOT_LITERAL:
            out.append("b" if value == ord("a") else "a")
        elif op is ops.ANY:
            out.append("a")
        elif op is ops.IN:
            out.append(character(value))
        elif op is ops.BRANCH:
            options = value[1]
            out.append(make(options[min(branch, len(options) - 1)], spare, branch))
        elif op is ops.SUBPATTERN:
            out.append(make(value[3], spare, branch))
        elif op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            least, most, inner = value
            piece = make(inner, [0], branch)
            if not piece:
                out.append(make(inner, spare, branch))
                continue
            more = min(spare[0] // len(piece), int(most) - least) if most is not ops.MAXREPEAT else spare[0] // len(piece)
            spare[0] -= more * len(piece)
            out.append(piece * (least + more))
        elif op is not ops.AT:
            raise Unmakable
    return "".join(out)


@functools.cache
def matching(pattern, length=None):
    """A text that matches, as long as `length` if that is given; None where none was found."""
    tree = parser.parse(python(pattern), re.ASCII)
    for branch in range(4):
        try:
            text = make(tree, [0], branch)
            if length is not None:
                text = make(tree, [max(0, length - len(text))], branch)
        except Unmakable:
            continue
        if matches(pattern, text) and (length is None or len(text) == length):
            return text
    return None


def of_length(shape, length):
    """A text of that length that has the shape's pattern, where it has one."""
    if "pattern" not in shape:
        return "a" * length
    return matching(shape["pattern"], length)


def mismatching(shape, right):
    """A text of an allowed length that the shape's pattern does not match."""
    least, most = shape.get("min", 0), shape.get("max", 1 << 30)
    for odd in "!\u2603 \n/*:{$\u0000":
        for text in (right + odd, odd + right, right[:-1] + odd, odd * max(1, least), odd + right[1:]):
            if least <= len(text) <= most and not matches(shape["pattern"], text):
                return text
    return None
