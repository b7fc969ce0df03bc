"""What the demo shows, in order."""

import time
from contextlib import suppress
from pathlib import Path

from kennel.cli import deploy, repository, status
from kennel.cli.demo.forge import PROJECT, Forge
from kennel.cli.demo.place import DRAIN, Place
from kennel.cli.demo.server import Server
from kennel.cli.demo.visitor import Crowd, Visitor
from kennel.cli.outcome import Exit, Failure
from kennel.cli.screen import Screen, link
from kennel.cli.words import duration
from kennel.views import Build, NewProject

FIRST = "Hello from Kennel"
SECOND = "Hello again from Kennel"
PROPOSED = "Good day, from a pull request"
PATIENCE = 60.0
"""Seconds for each thing that should happen by itself."""
OK, MISSING = 200, 404


def tell(place: Place, screen: Screen, *, leave: bool) -> None:
    """Show everything. `leave`: end then, else stay until Ctrl-C. Raises Failure."""
    began = time.monotonic()
    screen.line(f"Kennel's demo, in {place.root}", "bold")
    with Server(place) as server:
        screen.line(f"Kennel runs: http://127.0.0.1:{place.web}, its log is {place.log}")
        story = Story(place, screen, server)
        story.begin()
        story.change()
        story.propose()
        story.summary()
        screen.line(f"\nAll of this took {duration(time.monotonic() - began)}.", "bold")
        if leave:
            story.withdraw()
        else:
            story.stay()
        story.end()


class Story:
    """The chapters. Each relies on the ones before it."""

    def __init__(self, place: Place, screen: Screen, server: Server) -> None:
        self._place = place
        self._screen = screen
        self._server = server
        self._daemon = server.daemon
        self._forge = Forge(place, lambda line: screen.line(line, "dim"))

    def begin(self) -> None:
        """Register the project, push it, open its pages."""
        self._title("A new project")
        self._forge.create()
        self._screen.line(f"$ kennel projects add {self._forge.bare}", "dim")
        address = repository.parse(str(self._forge.bare))
        self._daemon.add_project(NewProject(url=address.url, full_name=address.full_name))
        self._live("main", self._forge.push("main"))
        self._expect(self._deployed("main"), OK, FIRST)
        docs = self._deployed("main", "docs")
        self._expect(docs, OK, "<!doctype html>")
        self._expect(f"{docs}/nowhere", MISSING, "<!doctype html>")

    def change(self) -> None:
        """Push a change, with visitors all the time."""
        self._title("A change, with visitors all the time")
        url = self._deployed("main")
        with Crowd(self._authority(), url) as crowd:
            crowd.wait_for(FIRST, PATIENCE)
            self._forge.change(FIRST, SECOND, message="Say it again")
            pushed = time.monotonic()
            self._live("main", self._forge.push("main"))
            took = crowd.wait_for(SECOND, PATIENCE) - pushed
        self._screen.line(f"{url}: {FIRST!r} became {SECOND!r} {duration(took)} after the push")
        self._screen.line(f"{crowd.asked} requests meanwhile, {crowd.failed} of them failed")
        if crowd.failed:
            raise Failure(f"{crowd.failed} requests failed during a deployment: none should")

    def propose(self) -> None:
        """Open a pull request: it gets a copy of its own."""
        self._title("A pull request")
        self._forge.branch("politeness")
        self._forge.change(SECOND, PROPOSED, message="Be polite")
        commit = self._forge.open_pull_request(1, "politeness", "Be polite")
        self._live("pr-1", commit)
        self._expect(self._deployed("pr-1"), OK, PROPOSED)
        self._expect(self._deployed("main"), OK, SECOND)

    def withdraw(self) -> None:
        """Close the pull request: its copy goes away, and nothing else."""
        self._title("The pull request is closed")
        url = self._deployed("pr-1")
        self._forge.close_pull_request(1)
        deadline = time.monotonic() + PATIENCE
        while any(d.ref == "pr-1" for d in self._daemon.status(PROJECT)):
            self._until(deadline, f"{url} is still there")
        self._screen.line(f"{url} is gone")
        self._expect(self._deployed("main"), OK, SECOND)

    def summary(self) -> None:
        """Show what is where."""
        self._title("kennel status")
        status.show(self._screen, self._daemon.status(), now=time.time())

    def stay(self) -> None:
        """Wait for Ctrl-C."""
        with suppress(KeyboardInterrupt):
            self._screen.line(
                f"\nYour browser finds these pages too; their certificates are signed by\n"
                f"{self._authority()}\n"
                f"Try `kennel --config {self._place.config} status`. Ctrl-C ends it all."
            )
            while True:
                self._server.check()
                time.sleep(1.0)

    def end(self) -> None:
        """Take away what would outlive Kennel: units of systemd's."""
        if self._place.supervisor != "systemd":
            return
        self._daemon.remove_project(PROJECT)
        deadline = time.monotonic() + PATIENCE
        # what is left is `main`, as something that has data and runs nothing
        while any(d.state != "kept" for d in self._daemon.status(PROJECT)):
            self._until(deadline, "services are still live")
        time.sleep(DRAIN)  # a step of the plan only when it is over
        while self._daemon.plan():
            self._until(deadline, "services still run")

    def _title(self, text: str) -> None:
        self._screen.line(f"\n{text}", "bold")

    def _live(self, ref: str, commit: str) -> None:
        """Wait for the build of a commit that was pushed, and watch it until it is live."""
        deadline = time.monotonic() + PATIENCE
        while not (found := self._built(ref, commit)):
            outcomes = [f"{d.event}: {d.outcome}" for d in self._daemon.deliveries(3)]
            self._until(deadline, f"the push led to no build ({'; '.join(outcomes)})")
        build = deploy.watch(self._daemon, self._screen, found)
        deploy.conclude(self._screen, build, quiet=True)

    def _built(self, ref: str, commit: str) -> Build | None:
        builds = self._daemon.builds(PROJECT, ref)
        return next((build for build in builds if build.commit == commit), None)

    def _until(self, deadline: float, otherwise: str) -> None:
        self._server.check()
        if time.monotonic() > deadline:
            raise Failure(otherwise)
        time.sleep(0.05)

    def _deployed(self, ref: str, name: str = "hello") -> str:
        """Return the URL of the service or site `name` of a ref."""
        found = self._daemon.status(PROJECT)
        url = next((d.url for d in found if d.ref == ref and d.name == name), "")
        if not url:
            raise Failure(f"{PROJECT}/{ref}:{name} has no URL", code=Exit.NOT_FOUND)
        return url

    def _expect(self, url: str, wanted: int, text: str) -> None:
        """Open a page and show how it begins. Raises Failure if it is another."""
        visitor = Visitor(self._authority())
        try:
            code, page = visitor.get(url)
        finally:
            visitor.close()
        if code != wanted or not page.startswith(text):
            raise Failure(f"{url} answers {code} {page[:200]!r}, not {wanted} {text!r}")
        self._screen.line(link(url).append(f"  {code} {page.partition(chr(10))[0]}", "green"))

    def _authority(self) -> Path:
        """Return the certificate of the demo's own authority."""
        found = next(self._place.state.rglob("authorities/local/root.crt"), None)
        if found is None:
            raise Failure(f"Caddy made no certificate authority in {self._place.state}")
        return found
