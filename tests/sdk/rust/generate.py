"""Writes the typed calls of the Rust driver: one function per operation of the scenario table.

`python generate.py FILE`. Only members that a scenario sets are written; what the SDK's types are called follows
from botocore's model, as smithy-rs names them.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

import botocore.session  # noqa: E402
from botocore import xform_name  # noqa: E402
from sdk.table import TABLES  # noqa: E402

CRATES = {"logs": "aws_sdk_cloudwatchlogs"}
SCALARS = {"integer": "int", "long": "long", "boolean": "truth"}


def crate(service):
    return CRATES.get(service, f"aws_sdk_{service}")


def rust_name(name):
    return xform_name(name)


def type_name(name):
    return name[0].upper() + name[1:]


class Writer:
    def __init__(self):
        self.session = botocore.session.Session()
        self.used = {}  # (service, structure) -> the members that some scenario sets
        self.shapes = {}
        self.calls = {}

    def read(self):
        for table in TABLES.values():
            for step in table.steps:
                if step.service == "codedeploycommand":
                    continue
                model = self.session.get_service_model(step.service).operation_model(step.operation)
                names = self.calls.setdefault((step.service, step.operation), {})
                for name, value in step.parameters.items():
                    shape = model.input_shape.members[name]
                    names[name] = shape
                    self.walk(step.service, shape, value)

    def walk(self, service, shape, value):
        if shape.type_name == "structure":
            found = self.used.setdefault((service, shape.name), {})
            for name, inner in value.items():
                found[name] = shape.members[name]
                self.walk(service, shape.members[name], inner)
        elif shape.type_name == "list":
            for inner in value:
                self.walk(service, shape.member, inner)

    def reader(self, service, shape, streaming=False):
        """An expression that reads a JSON value as `shape`."""
        kind = shape.type_name
        if kind == "structure":
            return f"{service}_{rust_name(shape.name)}"
        if kind == "list":
            return f"|value| list(value, {self.reader(service, shape.member)})"
        if kind == "map":
            return f"|value| map(value, {self.reader(service, shape.value)})"
        if kind == "blob":
            made = "ByteStream::from" if streaming else "Blob::new"
            return f"|value| Ok({crate(service)}::primitives::{made}(bytes(value)?))"
        if kind == "string" and shape.enum:
            return f"|value| Ok({crate(service)}::types::{type_name(shape.name)}::from(text(value)?.as_str()))"
        return SCALARS.get(kind, "text")

    def setters(self, service, members, streaming=None):
        return "".join(f'\n        .set_{rust_name(name)}(get(input, "{name}", {self.reader(service, shape, name == streaming)})?)'
                       for name, shape in sorted(members.items()))

    def text(self):
        self.read()
        parts = []
        for (service, name), members in sorted(self.used.items()):
            kind = f"{crate(service)}::types::{type_name(name)}"
            parts.append(f"fn {service}_{rust_name(name)}(input: &Value) -> Res<{kind}> {{\n"
                         f"    (&Wrap({kind}::builder(){self.setters(service, members)}\n        .build())).finished()\n}}\n")
        arms = []
        for (service, operation), members in sorted(self.calls.items()):
            streaming = "Body" if operation in ("PutObject", "UploadPart") else None
            function = f"call_{service}_{rust_name(operation)}"
            tail = '    Ok(format!("{told:?}"))\n'
            if operation == "GetObject":
                tail = ('    let shown = format!("{told:?}");\n'
                        '    let body = told.body.collect().await.map_err(|error| format!("{error:?}"))?.to_vec();\n'
                        '    Ok(format!("{shown}\\n{body:?}"))\n')
            parts.append(f"#[allow(deprecated)]\nasync fn {function}(clients: &Clients, input: &Value) -> Result<String, Failure> {{\n"
                         f"    let _ = input;\n"
                         f"    let told = clients.{service}.{rust_name(operation)}(){self.setters(service, members, streaming)}\n"
                         f"        .send().await.map_err(|error| failure!(error))?;\n{tail}}}\n")
            arms.append(f'        ("{service}", "{operation}") => Box::pin({function}(clients, input)).await,\n')
        return "\n".join(parts) + (
            "\nasync fn dispatch(clients: &Clients, service: &str, operation: &str, input: &Value) -> Result<String, Failure> {\n"
            "    match (service, operation) {\n" + "".join(arms) +
            '        _ => Err(Failure::Broken(format!("no call was generated for {service} {operation}"))),\n    }\n}\n')


if __name__ == "__main__":
    fresh = Writer().text()
    path = pathlib.Path(sys.argv[1])
    if not path.exists() or path.read_text() != fresh:
        path.write_text(fresh)
