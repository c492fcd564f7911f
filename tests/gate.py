"""Builds that wait until the test lets them go on."""


class Gate:
    """A folder that builds see: what waits for `open` in it goes on when the test says so."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        folder.chmod(0o755)

    def open(self):
        (self.folder / "open").touch()

    @property
    def wait(self):
        """A command that ends once the gate was open when its sandbox started, or never."""
        return f"echo at the gate; test -e {self.folder}/open || sleep 600"
