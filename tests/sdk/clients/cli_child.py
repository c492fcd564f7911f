"""Runs aws CLI command lines in one process: one JSON line in, one out. Works under CLI v1 and v2."""

import contextlib
import io
import json
import re
import sys

from awscli.clidriver import create_clidriver

try:
    from botocore import xform_name
except ImportError:
    from awscli.botocore import xform_name

COMMANDS = {"s3": "s3api", "codedeploy": "deploy"}
REFUSED = re.compile(r"An error occurred \((.*?)\) when calling the \w+ operation(?: \([^)]*\))?: ?(.*)", re.S)


class Captured(io.TextIOWrapper):
    """Standard output: the CLI writes text and bytes to it."""

    def __init__(self):
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self):
        return self.buffer.getvalue().decode()


def known_members(value, shape, path, left_out):
    """The input without the members that this CLI's model is too old to know."""
    if shape.type_name == "structure" and isinstance(value, dict):
        kept = {}
        for name, inner in value.items():
            if name in shape.members:
                kept[name] = known_members(inner, shape.members[name], f"{path}.{name}", left_out)
            else:
                left_out.append(f"{path}.{name}")
        return kept
    if shape.type_name == "list":
        return [known_members(inner, shape.member, path, left_out) for inner in value]
    return value


def answer(driver, question):
    service, operation = question["service"], question["operation"]
    model = driver.session.get_service_model(service)
    if operation not in model.operation_names:
        return {"lacking": f"this CLI has no {service} {operation}"}
    left_out = []
    shape = model.operation_model(operation).input_shape
    members = known_members(question["input"], shape, operation, left_out) if shape else {}
    words = [COMMANDS.get(service, service), xform_name(operation, "-"), "--output", "json",
             "--endpoint-url", question["endpoint"]]  # 2.9 does not read AWS_ENDPOINT_URL yet
    if question["outfile"]:  # a command that writes a file takes no --cli-input-json
        words += [word for name, value in members.items() for word in ("--" + xform_name(name, "-"), str(value))]
    elif members:
        words += ["--cli-input-json", json.dumps(members)]
    for name, path in question["files"].items():
        streaming = name == "Body"
        words += ["--" + xform_name(name, "-"), path if streaming else f"fileb://{path}"]
    if question["outfile"]:
        words.append(question["outfile"])
    out, err = Captured(), Captured()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = driver.main(words)
    if code == 0:
        return {"answer": out.text(), "left_out": left_out}
    refused = REFUSED.search(err.text())
    if refused:
        return {"refused": {"code": refused[1], "message": refused[2].strip()}, "left_out": left_out}
    return {"failed": f"aws {' '.join(words)}: exit {code}: {out.text()} {err.text()}"}


def main():
    driver = create_clidriver()
    told = sys.stdout
    for line in sys.stdin:
        try:
            said = answer(driver, json.loads(line))
        except BaseException as error:  # noqa: BLE001 - one call's failure must not end the others
            said = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), file=told, flush=True)


main()
