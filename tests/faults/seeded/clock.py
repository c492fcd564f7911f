"""A time of day that can be set: for the machine (everybody), or for the server alone."""

import os
import pathlib
import struct
import subprocess

SOURCE = pathlib.Path(__file__).with_name("clock.c")
INSIDE_LIBRARY = "/usr/local/lib/seeded-clock.so"
INSIDE_FILE = "/var/tmp/seeded-clock"


def built(folder):
    """The library, compiled once per folder."""
    library = pathlib.Path(folder) / "seeded-clock.so"
    if not library.exists():
        draft = library.with_suffix(f".{os.getpid()}")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", draft, SOURCE], check=True)
        draft.rename(library)
    return library


class Clock:
    """One moved clock: its file, and the environment of the programs that live by it."""

    def __init__(self, path, library):
        self.path = pathlib.Path(path)
        self.path.write_bytes(struct.pack("=q", 0))
        self.environment = {"LD_PRELOAD": str(library), "SEEDED_CLOCK": str(path)}

    def move(self, seconds):
        """Sets how far the clock is from the true time. In place: the programs have the file mapped."""
        with open(self.path, "r+b") as file:
            file.write(struct.pack("=q", int(seconds * 1e9)))
