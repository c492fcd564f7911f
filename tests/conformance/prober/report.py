"""Judges answers, and tells a person what came: a table of all, and a request for each that was wrong."""

import collections

from . import oracle

MOST_SHOWN = 25
# What any operation may answer beside the errors of its own model: the common errors, and an option refused by name.
# https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/CommonErrors.html
COMMON = {"AccessDenied", "AccessDeniedException", "ValidationError", "ValidationException"}
# Operations that answer an error of their service which their own model forgets.
UNLISTED = {
    # https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccessKeyLastUsed.html says nothing of a key that is not.
    ("iam", "GetAccessKeyLastUsed"): {"NoSuchEntity"},
    # https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_UpdatePipeline.html neither of a pipeline.
    ("codepipeline", "UpdatePipeline"): {"PipelineNotFoundException"},
}


class Report:
    def __init__(self):
        self.wrong = []
        self.counts = collections.defaultdict(collections.Counter)

    def take(self, probe, answer, model, common=COMMON):
        """Notes one answer, and whether it was right."""
        counts = self.counts[probe.service, probe.protocol]
        counts["probes"] += 1
        if answer.status == 501 and answer.code == "NotImplemented" and probe.refusal is None:
            counts["refused by name"] += 1
            return
        if answer.status >= 500:
            self.fail(probe, answer, "a server's failure")
        elif probe.refusal is None:
            if answer.status < 300:
                counts["done"] += 1
            elif answer.text and (answer.code in model.errors(probe.operation) | common
                                  or answer.code in UNLISTED.get((probe.service, probe.operation), ())):
                counts["modelled error"] += 1
            else:
                self.fail(probe, answer, f"an error that {probe.operation} does not model")
        elif answer.status < 300:
            self.fail(probe, answer, "done, though it is to be refused")
        elif not oracle.agrees(probe.refusal, answer.code, answer.text):
            self.fail(probe, answer, "another refusal")
        elif answer.status != 400:
            self.fail(probe, answer, "another status")
        else:
            counts["by type" if probe.refusal.code in ("SerializationException", "MalformedInput") else "by constraint"] += 1

    def fail(self, probe, answer, why):
        self.counts[probe.service, probe.protocol]["wrong"] += 1
        self.wrong.append((probe, answer, why))

    def table(self):
        columns = ["probes", "by constraint", "by type", "done", "modelled error", "refused by name", "wrong"]
        lines = ["", f"{'service, protocol':42}" + "".join(f"{name:>17}" for name in columns)]
        total = collections.Counter()
        for (service, protocol), counts in sorted(self.counts.items()):
            total += counts
            lines.append(f"{service + ', ' + protocol:42}" + "".join(f"{counts[name]:>17}" for name in columns))
        lines.append(f"{'all':42}" + "".join(f"{total[name]:>17}" for name in columns))
        return "\n".join(lines)

    def failures(self, since=0):
        """The first of each kind, with what reproduces it."""
        wrong, kinds = self.wrong[since:], {}
        for probe, answer, why in wrong:
            kinds.setdefault((why, probe.operation, probe.what.partition(":")[2] or probe.what), (probe, answer, why))
        shown = [f"{len(wrong)} of the answers are wrong, of {len(kinds)} kinds:"]
        for probe, answer, why in list(kinds.values())[:MOST_SHOWN]:
            expected = probe.refusal
            if expected is None:
                wanted = "success, or an error that the operation models"
            elif expected.problems:
                wanted = f"{expected.code}: " + "; ".join(
                    f"Value {problem.value!r} at '{problem.path}': {problem.constraint}" for problem in expected.problems)
            else:
                wanted = f"{expected.code}: {expected.text or 'any text'}"
            shown.append(
                f"- {probe.service}.{probe.operation} over {probe.protocol}, {probe.what}: {why}\n"
                f"    {probe.method} {cut(probe.body)}\n"
                f"    wanted {cut(wanted)}\n"
                f"    got    {answer.status} {answer.code}: {cut(answer.text or answer.body)}")
        return "\n".join(shown)


def cut(text, most=500):
    text = text if isinstance(text, str) else repr(text)
    return text if len(text) <= most else f"{text[:most]}… ({len(text)})"
