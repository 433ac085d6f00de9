"""Jobs on a Ray cluster: the page holds no model, replicas do; a child process of the page is Ray's driver.

    page: Cluster (cluster.py) ── pipe ── drive: Ray's driver ── Ray Serve ── Replicas: engine and turns

A visitor's jobs go to the replica that has their features (Ray's multiplexing, with the visitor as the model). That is
soft: another replica does the same work from the pictures, which it asks the object store for. Trajectories and
features stay where they were made, and pictures are known by their digest. Whatever dies, the page sends the job
again. Ray is imported by functions only, so that the page needs none.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Literal

from magicstyle_core import limits
from magicstyle_core.errors import MagicStyleError, SettingsError
from magicstyle_core.images import Picture
from magicstyle_core.options import add_model_options, load_engine
from magicstyle_core.serving.places import SHARED, Answer, Here, Inverted, Place, Task
from magicstyle_core.serving.turns import POLL_SECONDS, Run, Turns
from magicstyle_core.settings import InversionSettings

NAME = "magicstyle"  # of the application on the cluster
LOCAL = "local"  # the address of a cluster of this machine's, which ends with the page
VISITORS = 64  # whose features a replica keeps, by default; the memory in bytes has its own budget
AT_ONCE = 256  # jobs of one page, and of one replica: they wait in the replica's line, a thread each
JOBS_A_REPLICA = 2.0  # ongoing ones for which the cluster is scaled: one at work, one that waits
DRAIN_SECONDS = 600.0  # that a replica which is scaled away has for the jobs that it began
STORE_BYTES = 512 << 20  # the object store of a cluster of this machine's
ASK_SECONDS = 10.0  # that all replicas have for a short answer
HOST_SHARE = 4  # one part in so many of a machine's memory is for features, as in one process
WAITS = [0.1, 0.3, 1, 3, 10, 30, 100]  # bounds of the waiting times that Ray's metrics count, seconds


@dataclass(frozen=True)
class Kept:
    """That a replica has an inversion: all that the page knows of it."""

    session: str
    digest: str
    steps: int | None


@dataclass(frozen=True)
class Lost:
    """Whoever worked on a job is gone."""

    reason: Literal["moved", "away"]


# In a replica.


class Seat:
    """A visitor's place in a replica; when there are too many, Ray takes the one that was used least recently."""

    def __init__(self, replica: Replica, session: str) -> None:
        self.replica, self.session, self.is_taken = replica, session, True

    def __del__(self) -> None:  # Ray calls it when the seat is needed, and then Python does when nobody holds it
        if self.is_taken:
            self.is_taken = False
            self.replica.evict(self.session)


class Replica:
    """A place in a process of the cluster's, with the turns of everybody whose jobs come here."""

    def __init__(self, place: Place) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        self.place = place
        self.turns = Turns(place.at_once)
        self.runs: set[Run[None]] = set()
        self.evicted = self.read_again = 0
        self.calls_told = 0
        self.metrics = (
            Gauge("magicstyle_visitors", "Visitors whose features are stored."),
            Gauge("magicstyle_bank_bytes", "Bytes of stored features."),
            Counter("magicstyle_unet_calls", "Model calls since the start."),
            Histogram("magicstyle_wait_seconds", "From a job to its first answer.", boundaries=WAITS),
        )

    async def seat(self, visitor: str) -> Seat:
        """The visitor's place here, which the application makes one of Ray's models."""
        return Seat(self, visitor)

    async def run(self, task: Task, pictures: Mapping[str, Any]) -> AsyncIterator[Answer]:
        """Works in turn with the others, in a thread: this loop has Ray's own questions to answer meanwhile.

        Args:
            task: its pictures are digests, its inversions what the page takes for stored.
            pictures: an object reference for every digest.
        """
        from ray import serve

        visitor = serve.get_multiplexed_model_id()
        if visitor:
            await self.seat(visitor)
        loop, answers = asyncio.get_running_loop(), asyncio.Queue[Answer | Exception | None]()

        def steps() -> Generator[None, None, None]:
            last: Exception | None = None
            try:
                with closing(self._work(task, pictures)) as each:
                    for answer in each:
                        if answer is not None:
                            loop.call_soon_threadsafe(answers.put_nowait, answer)
                        yield None
            except Exception as error:
                logging.getLogger(__name__).exception("a job failed")
                last = error
            finally:
                loop.call_soon_threadsafe(answers.put_nowait, last)

        asked, place, is_waiting = time.monotonic(), None, True
        run = self.turns.submit(steps(), owner=visitor)
        self.runs.add(run)
        coming = asyncio.ensure_future(answers.get())
        try:
            while True:
                await asyncio.wait({coming}, timeout=POLL_SECONDS)
                if not coming.done():
                    here = self.turns.place(run) if is_waiting else None
                    if here is not None and (place is None or here.place != place.place):
                        place = here
                        yield here
                    continue
                answer = coming.result()
                if is_waiting:
                    is_waiting = False
                    self.metrics[3].observe(time.monotonic() - asked)
                if answer is None:
                    return
                if isinstance(answer, Exception) and not isinstance(answer, MagicStyleError):
                    raise answer
                coming = asyncio.ensure_future(answers.get())
                yield answer
        finally:
            coming.cancel()
            self.turns.cancel(run)
            self.runs.discard(run)
            self._measure()

    def _work(self, task: Task, pictures: Mapping[str, Any]) -> Generator[Answer | None, None, None]:
        """The task's answers, with what is stored here and pictures of what is not."""
        import ray

        sources = []
        for source in task.sources:
            picture = source.picture
            known = self.place.known(picture, task.inversion, session=source.session)
            if known is None:
                self.read_again += source.inversion is not None and source.session != SHARED
                stored: Picture = ray.get(pictures[picture.digest])
                # Copies, because what Ray gives is a part of the object store.
                alpha = None if stored.alpha is None else stored.alpha.copy()
                picture = Picture(stored.pixels.copy(), stored.digest, alpha)
            sources.append(replace(source, picture=picture, inversion=known))
        for answer in self.place.run(replace(task, sources=tuple(sources))):
            if isinstance(answer, Inverted):
                source = sources[answer.number]
                kept: Any = Kept(source.session, source.picture.digest, task.inversion.steps)
                answer = replace(answer, inversion=kept)
            yield answer

    async def forget(self, session: str) -> int:
        """Ends the jobs of a session and drops all that is stored for it. Returns the bytes freed."""
        for run in list(self.runs):
            if run.owner == session:
                run.cancel()
        return self.place.forget(session)

    def evict(self, session: str) -> None:
        """Drops what is stored for a visitor, to make room for others."""
        self.evicted += self.place.forget(session) > 0

    async def stats(self) -> dict[str, Any]:
        """The place's, and how often features were dropped for want of a seat, or missing where they were expected."""
        return {**self.place.stats(), "visitors_evicted": self.evicted, "read_again": self.read_again}

    def _measure(self) -> None:
        stats, (visitors, size, calls, _) = self.place.stats(), self.metrics
        visitors.set(len(set(stats["sessions"]) - {SHARED}))
        size.set(stats["bytes"]["device"] + stats["bytes"]["host"])
        if stats["unet_calls"] > self.calls_told:
            calls.inc(stats["unet_calls"] - self.calls_told)
            self.calls_told = stats["unet_calls"]


class Studio(Replica):
    """A replica with an engine.

    Args:
        options: flags of `magicstyle serve` by name, without dashes; those left out are the flags' own defaults.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        parser = argparse.ArgumentParser()
        add_model_options(parser)
        flags = parser.parse_args([])
        wish = InversionSettings(steps=options.get("steps"), size=options.get("size"))
        unknown = set(options) - set(vars(flags)) - {"steps", "size"}
        if unknown:
            raise SettingsError(f"Unknown options {', '.join(sorted(unknown))}; see magicstyle serve -h.")
        vars(flags).update(options)
        self.engine = load_engine(flags)
        model = self.engine.model
        model.steps, model.size = wish.steps or model.steps, wish.size or model.size
        super().__init__(Here(self.engine))

    async def facts(self) -> tuple[Any, ...]:
        """What a page needs to know of the model, and every layer."""
        return self.place.facts, self.engine.layers()


def build(options: Mapping[str, Any]) -> Any:
    """The Ray Serve application: `import_path: magicstyle_core.serving.ray:build` of a Serve config.

    Args:
        options: of `Studio`, and `visitors`: how many of them a replica keeps features for.
    """
    return application(Studio, options)


def application(kind: type[Replica], options: Mapping[str, Any], **resources: Any) -> Any:
    """The application with this kind of replica."""
    from ray import serve

    rest = dict(options)
    seats = serve.multiplexed(max_num_models_per_replica=rest.pop("visitors", VISITORS))
    seated = type(kind.__name__, (kind,), {"seat": seats(kind.seat)})
    deployment = serve.deployment(
        name="Studio", max_ongoing_requests=AT_ONCE, graceful_shutdown_timeout_s=DRAIN_SECONDS, **resources
    )
    return deployment(seated).bind(rest)


# In the child process of the page.


def drive(
    pipe: Connection, kind: type[Replica], address: str, options: dict[str, Any], replicas: tuple[int, int]
) -> None:
    """Ray's driver: passes on what comes through the pipe, until it closes.

    Its first answer is what the replica's `facts` says, or a sentence that says why there is none.
    """
    if address == LOCAL:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray reads it when imported: listen on 127.0.0.1
        os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)  # the rest of ports
    import ray
    from ray.exceptions import RayTaskError

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the page gets it too, and says when to end
    try:
        handle = _connect(kind, address, options, replicas)
        facts = handle.facts.remote().result()
    except Exception as error:
        refusal = re.search(r"(?:Model|Settings)Error: ([^\n\\]+)", f"{error} {_complaints()}")
        pipe.send(refusal[1] if refusal else f"The Ray cluster {address!r} cannot be used: {_line(error)}.")
        return
    pipe.send(facts)
    lock, pictures, streams = threading.Lock(), dict[tuple[str, str], Any](), dict[int, Any]()

    def answer(number: int, value: Any) -> None:
        with lock, suppress(OSError):  # the page may be gone
            pipe.send((number, value))

    def follow(number: int, stream: Any) -> None:
        last: Any = None
        try:
            for each in stream:
                answer(number, each)
        except RayTaskError as error:  # a fault of the program, which would be there again
            last = RuntimeError(_line(error.cause))
        except Exception:  # the replica's, its machine's or the network's end, which Ray names by a dozen classes
            last = Lost("moved")
        streams.pop(number, None)
        answer(number, last)

    def ask(number: int, method: str, values: tuple[Any, ...]) -> None:
        found: list[Any] = []
        with suppress(Exception):  # no replica is there, or none answers in time
            found = handle.broadcast(method, *values).results(timeout_s=ASK_SECONDS, return_exceptions=True)
        answer(number, [each for each in found if not isinstance(each, Exception)])

    with suppress(EOFError, OSError):
        while (message := pipe.recv()) != ("end",):
            match message:
                case ("picture", address_of, picture):
                    pictures[address_of] = ray.put(picture)
                case ("drop", address_of):
                    pictures.pop(address_of, None)
                case ("run", number, visitor, task):
                    known = {key[1]: pictures[key] for key in addresses(task)}
                    stream = handle.options(stream=True, multiplexed_model_id=visitor).run.remote(task, known)
                    streams[number] = stream
                    threading.Thread(target=follow, args=(number, stream), daemon=True).start()
                case ("cancel", number):
                    if (stream := streams.pop(number, None)) is not None:
                        stream.cancel()
                case ("ask", number, method, values):
                    threading.Thread(target=ask, args=(number, method, values), daemon=True).start()
    ray.shutdown()


def _connect(kind: type[Replica], address: str, options: Mapping[str, Any], replicas: tuple[int, int]) -> Any:
    """A handle of the application on that cluster, which is deployed there unless it is there already."""
    import ray
    from ray import serve

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": NAME}
    if address == LOCAL:
        home: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
        ray.init("local", **home, **quiet)
    else:
        ray.init(address, **quiet)
    serve.start(proxy_location="Disabled")  # pages come by handle, and no port is opened
    known = serve.status().applications.get(NAME)
    if known is None or known.status == "DEPLOY_FAILED":
        least, most = replicas
        if address == LOCAL and options.get("budget") is None:  # else every replica takes a share of all memory
            options = {**options, "budget": limits.memory_bytes() / HOST_SHARE / most / 1e9}
        there = ray.cluster_resources()
        cpus, gpus = there.get("CPU", 1.0), there.get("GPU", 0.0)
        on_gpu = gpus >= 1 and options.get("device", "auto") in ("auto", "cuda")
        share = cpus / most if cpus < most else float(cpus // most)
        resources = {"num_cpus": min(1.0, share) if on_gpu else share, "num_gpus": float(on_gpu)}
        scaling = {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": JOBS_A_REPLICA}
        number = {"num_replicas": least} if least == most else {"autoscaling_config": scaling}
        serve.run(application(kind, options, ray_actor_options=resources, **number), name=NAME, route_prefix=None)
    return serve.get_app_handle(NAME)


def _complaints() -> str:
    """What Ray Serve says of the replicas, tracebacks included."""
    from ray import serve

    with suppress(Exception):  # there may be no cluster to ask
        deployments = [each for one in serve.status().applications.values() for each in one.deployments.values()]
        return " ".join(deployment.message for deployment in deployments)
    return ""


def addresses(task: Task) -> list[tuple[str, str]]:
    """Session and digest of every picture."""
    return [(source.session, source.picture.digest) for source in task.sources]


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(".:")
