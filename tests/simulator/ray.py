"""The part of Ray that ``aa_ray.sweep.tune`` calls: a cluster, and Tune's loop with reused actors.

Every driver and worker is a separate process on a host. A worker's process may die. If the network
to its host is cut, it only seems to die: it continues, and nobody hears from it.
"""

import itertools
import json
import types
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ray.tune.search import Searcher

from tests.simulator.world import Killed, Process, World

FOR_EVER = 1e7


@dataclass(eq=False)
class Trial:
    """A Tune trial, with the attributes that callbacks read."""

    trial_id: str
    config: dict[str, Any]
    last_result: dict[str, Any] = field(default_factory=dict)
    error_file: str | None = None
    failures: int = 0


class Actor:
    """A worker's process, which receives one trial after another."""

    def __init__(
        self, world: World, host: str, driver: Process, make: Callable[[], Any], name: str
    ) -> None:
        self._world = world
        self.driver = driver
        self._make = make
        self.trial: Trial | None = None
        self.results: deque[dict[str, Any]] = deque()
        self.error: BaseException | None = None
        self.process = world.spawn(name, host, self._main)
        self.process.stalls = (5.0, 70.0, 200.0, FOR_EVER)

    def _main(self) -> None:
        actor = None
        done: Trial | None = None
        while True:
            self._world.wait(0.7)
            trial = self.trial
            if trial is None or trial is done:
                continue
            if actor is None:
                actor = self._make()
                actor.setup(trial.config)
            else:
                actor.reset_config(trial.config)
            try:
                result = actor.step()
            except Killed:
                raise
            except Exception as error:  # Tune would count it as a death
                self.error = error
                raise
            done = trial
            self.results.append(result)


class Cluster:
    """The hosts on which drivers and their workers run.

    Attributes:
        most_deaths: how often a worker's process may die before Tune gives up its trial.
    """

    def __init__(self, world: World, hosts: list[str], slots: int) -> None:
        self.world = world
        self.hosts = hosts
        self.slots = slots
        self.most_deaths = 4
        self.actors: list[Actor] = []
        self.told: dict[tuple[Process, str], bytes] = {}

    def teller(self, job_id: str) -> Callable[[bool], None]:
        """Replaces ``aa_ray.sweep.pulse.Teller``."""
        key = (self.driver_of(self.world.current), job_id)
        process = self.world.current
        count = itertools.count()

        def tell(training: bool) -> None:
            beat = {"pid": process.pid, "count": next(count), "training": training}
            if beat["count"]:  # Ray notices if a process does not even start
                self.world.operation(f"tell of {job_id}")
            self.told[key] = json.dumps(beat).encode()

        return tell

    def heard(self, job_id: str) -> bytes | None:
        """Replaces ``aa_ray.sweep.pulse.heard``."""
        return self.told.get((self.world.current, job_id))

    def forget(self, job_id: str) -> None:
        """Replaces ``aa_ray.sweep.pulse.forget``."""
        self.told.pop((self.world.current, job_id), None)

    def end(self, beat: dict[str, Any]) -> None:
        """Replaces ``aa_ray.sweep.pulse.end``."""
        for process in self.world.processes:
            if process.pid == beat["pid"]:
                self.world.counts["worker ended by its driver"] += 1
                self.world.note(f"{process.name} is ended by its driver")
                self.world.kill(process)

    def driver_of(self, worker: Process) -> Process:
        return next(actor.driver for actor in self.actors if actor.process is worker)

    def may_kill(self, process: Process) -> bool:
        """Return whether the process's trial survives another death of its process."""
        for actor in self.actors:
            if actor.process is process and actor.trial is not None:
                return actor.trial.failures < self.most_deaths
        return True

    def start(self, driver: Process, make: Callable[[], Any]) -> Actor:
        """Start a worker of the driver on any host."""
        host = self.world.random.choice(self.hosts)
        actor = Actor(self.world, host, driver, make, f"worker {len(self.actors)} of {driver.name}")
        self.actors.append(actor)
        driver.on_death.append(lambda: self._orphan(actor))
        return actor

    def _orphan(self, actor: Actor) -> None:
        """End the worker of a dead driver soon, or late if its host is cut off."""
        if actor.process.alive and self.world.faults:
            delay = self.world.random.choice((0.3, 10.0, 100.0))
            self.world.spawn("ray", "ray", lambda: self._end(actor, delay), mortal=False)
        elif actor.process.alive:
            self.world.kill(actor.process)

    def _end(self, actor: Actor, delay: float) -> None:
        self.world.wait(delay)
        self.world.kill(actor.process)


class Tuner:
    """Tune's loop: ask the searcher, start trials, and receive results and deaths."""

    def __init__(
        self, trainable: Any, *, param_space: Any, tune_config: Any, run_config: Any,
        cluster: Cluster,
    ) -> None:  # fmt: skip
        self._make = lambda: trainable.__new__(trainable)
        self._space = param_space
        self._searcher = tune_config.search_alg
        self._slots = tune_config.max_concurrent_trials
        self._callbacks = run_config.callbacks
        self._most_deaths = run_config.failure_config.max_failures
        self._cluster = cluster
        self._world = cluster.world
        self._driver = cluster.world.current
        self._running: list[Actor] = []
        self._idle: list[Actor] = []
        self._waiting: list[Trial] = []
        self._count = 0

    def fit(self) -> None:
        finished = False
        while True:
            while not finished and len(self._running) + len(self._waiting) < self._slots:
                suggestion = self._searcher.suggest(str(self._count))
                if suggestion is None:
                    break
                if suggestion == Searcher.FINISHED:
                    finished = True
                    break
                self._waiting.append(Trial(str(self._count), self._space | suggestion))
                self._count += 1
            self._place()
            for actor in list(self._running):
                self._hear(actor)
            for callback in self._callbacks:
                callback.on_step_end(0, [])
            if finished and not (self._running or self._waiting):
                break
            self._world.wait(1.0)
        for actor in [*self._idle, *self._running]:
            self._world.kill(actor.process)

    def _place(self) -> None:
        self._idle = [actor for actor in self._idle if actor.process.alive]
        while self._waiting:
            actor = self._idle.pop() if self._idle else None
            actor = actor or self._cluster.start(self._driver, self._make)
            actor.trial = self._waiting.pop(0)
            self._running.append(actor)

    def _hear(self, actor: Actor) -> None:
        trial = actor.trial
        assert trial is not None
        cut = self._cluster.world.faults and self._world.random.random() < self._world.kill_rate / 3
        if actor.results and not cut:
            self._running.remove(actor)
            self._idle.append(actor)
            trial.last_result = actor.results.popleft()
            self._searcher.on_trial_complete(trial.trial_id, trial.last_result)
            for callback in self._callbacks:
                callback.on_trial_complete(0, [], trial)
        elif not actor.process.alive or (cut and trial.failures < self._cluster.most_deaths):
            if actor.process.alive:
                self._world.counts["network cut"] += 1
                self._world.note(f"{actor.process.name} is cut off")
                world, process = self._world, actor.process
                world.spawn("ray", "ray", lambda: self._end_later(process), mortal=False)
            self._running.remove(actor)
            trial.failures += 1
            if trial.failures > self._most_deaths:
                self._searcher.on_trial_complete(trial.trial_id, None, error=True)
            else:
                for callback in self._callbacks:
                    callback.on_trial_recover(0, [], trial)
                self._waiting.append(trial)

    def _end_later(self, process: Process) -> None:
        """End the process when its host returns and Ray no longer knows it."""
        self._world.wait(self._world.random.choice((20.0, 150.0)))
        self._world.kill(process)


def modules(cluster: Cluster, real_tune: Any) -> tuple[Any, Any]:
    """Return the replacements of ``ray`` and ``tune`` in ``aa_ray.sweep.tune``."""
    ray = types.SimpleNamespace(
        init=lambda **_: types.SimpleNamespace(dashboard_url=None),
        shutdown=lambda: None,
        get_runtime_context=lambda: types.SimpleNamespace(gcs_address="127.0.0.1:6379"),
        nodes=lambda: [{"Alive": True, "Resources": {"CPU": cluster.slots}}],
        cluster_resources=lambda: {"CPU": cluster.slots},
    )
    tune = types.SimpleNamespace(
        Tuner=lambda trainable, **settings: Tuner(trainable, cluster=cluster, **settings),
        with_resources=lambda actor, share: actor,
        TuneConfig=lambda **settings: types.SimpleNamespace(**settings),
        RunConfig=lambda **settings: types.SimpleNamespace(**settings),
        FailureConfig=lambda **settings: types.SimpleNamespace(**settings),
        CheckpointConfig=lambda **settings: types.SimpleNamespace(**settings),
        Callback=real_tune.Callback,
    )
    return ray, tune
