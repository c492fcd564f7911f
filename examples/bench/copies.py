"""Copies of one execution's documents under new ids: a history that nobody has to wait for."""

import re
import uuid

COPIED = ("codepipeline/execution", "codepipeline/execution-order", "codepipeline/action", "codepipeline/action-order",
          "codepipeline/start-token", "codepipeline/succeeded-in-stage", "codebuild/build", "codebuild/build-by-project",
          "codebuild/build-by-time", "codebuild/token", "logs/stream", "s3.current", "s3.version")
# What retention is for: the kinds whose documents an execution and its build leave, and which go with them.
FORGOTTEN = tuple(kind for kind in COPIED if kind.startswith("code"))
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# Milliseconds since the epoch, as they stand in documents, and in keys with zeros before them.
TIME = re.compile(r"(?<![0-9a-f-])(0*)(1[0-9]{12})(?![0-9a-f-])")


def aged(text, by_ms):
    """A document or its key, as if it had been written that much earlier."""
    return TIME.sub(lambda found: found[1] + str(int(found[2]) - by_ms).zfill(len(found[2])), text)


def chosen(kinds):
    """A condition of SQL; kinds are names of our own."""
    return "kind IN (" + ",".join(f"'{kind}'" for kind in kinds) + ")"


class Copier:
    """Of the execution in `rows`, the (kind, key, body) of everything of the kinds that are copied."""

    def __init__(self, rows, execution, number=1):
        ids = {execution}
        # What names the execution names its actions; what names those names builds, objects and logs.
        for _ in range(3):
            mine = [row for row in rows if any(one in text or one.replace("-", "") in text for one in ids for text in row[1:])]
            ids |= {one for kind, key, body in mine for one in UUID.findall(key + body)} - self.shared(rows)
        self.rows, self.ids = mine, sorted(ids)
        self.made = number
        text = "".join(f"{kind}\0{self.marked(kind, key)}\0{body}\1" for kind, key, body in self.rows)
        swaps = {one: n for n, one in enumerate(self.ids)}
        swaps |= {one.replace("-", ""): n for one, n in list(swaps.items())}
        pattern = re.compile("|".join(map(re.escape, swaps)) + r'|(?<=\x1f)0{8,}1(?=[\x1f\0])|(?<="sequence":)1(?=[,}])|(?<="number":)1(?=[,}])')
        self.pieces, self.places, end = [], [], 0
        for found in pattern.finditer(text):
            self.pieces.append(text[end:found.start()])
            self.places.append((swaps.get(found[0]), found[0]))
            end = found.end()
        self.pieces.append(text[end:])

    @staticmethod
    def marked(kind, key):
        """The pipeline's version looks like a number that each copy has anew, and is none."""
        parts = key.split("\x1f")
        if kind == "codepipeline/succeeded-in-stage":
            parts[1] = f"\2{parts[1]}"
        return "\x1f".join(parts)

    @staticmethod
    def shared(rows):
        """The pipeline's own generation and the like: in the documents of its other executions too."""
        counts = {}
        for kind, key, body in rows:
            if kind == "codepipeline/execution":
                for one in set(UUID.findall(key + body)):
                    counts[one] = counts.get(one, 0) + 1
        streams = {one for kind, key, body in rows if kind == "logs/stream" for one in UUID.findall(key.split("\x1f")[0])}
        return {one for one, count in counts.items() if count > 1} | streams

    def copy(self):
        self.made += 1
        fresh = [str(uuid.uuid4()) for _ in self.ids]
        out = [self.pieces[0]]
        for piece, (at, old) in zip(self.pieces[1:], self.places):
            if at is None:
                out.append(str(self.made + 1).zfill(len(old)))
            else:
                out.append(fresh[at] if "-" in old else fresh[at].replace("-", ""))
            out.append(piece)
        for row in "".join(out).replace("\2", "").split("\1")[:-1]:
            yield row.split("\0")

    @classmethod
    def of(cls, database, execution):
        """With a store of SQLite to read from and to write into."""
        made = cls(database.execute(f"SELECT kind, key, body FROM documents WHERE {chosen(COPIED)}").fetchall(), execution)
        made.database = database
        made.version = database.execute("SELECT max(version) FROM documents").fetchone()[0]
        return made

    def grow(self, size, change=lambda kind, key, body: (kind, key, body)):
        """Until there are `size` executions; `change` gets each document, and answers it or nothing."""
        with self.database:
            while self.made < size:
                changed = (found for row in self.copy() if (found := change(*row)))
                self.database.executemany("INSERT OR IGNORE INTO documents (kind, key, version, body) VALUES (?, ?, ?, ?)",
                                          ((kind, key, self.version, body) for kind, key, body in changed))
