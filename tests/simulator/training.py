"""Stand-in for training: its scores are a digest of all its steps.

The worker's code around it is real: checkpoints, interruptions and rows.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from aa_ray.core.backbones import Backbone
from aa_ray.store.rows import Store
from aa_ray.sweep.actor import TrialActor
from aa_ray.training import watchdog
from aa_ray.training.inputs import Facts, Inputs
from aa_ray.training.loop import State
from aa_ray.training.outcome import Evaluation, Outcome
from aa_ray.training.trainer import Epoch, TrainerState
from aa_ray.training.worker import Worker
from aa_ray.trial import Trial
from tests.simulator.ray import Cluster
from tests.simulator.world import World

LAYERS = 4
EPOCH_SECONDS = 12.0


class StandInInputs(Inputs):
    """Inputs without examples; only their facts are known."""

    def __init__(self) -> None:
        pass

    def facts(self, trials: Sequence[Trial]) -> dict[int, Facts]:
        of_chance: Any = {"dev_chance": 0.0, "dev_chance_error": 0.0}
        return {trial.seed: Facts(of_chance, "f" * 64) for trial in trials}


class StandIn(Worker):
    """A worker whose epochs take time and add a step to a digest."""

    def __init__(self, world: World, backbone: Backbone, store: Store, watch: Any) -> None:
        self.remarks = []
        self._world = world
        self._watch = watch
        self._folder = store.folder
        self.device = torch.device("cpu")
        self._too_many = {}
        self._backbone = backbone
        self._inputs = StandInInputs()
        self._sha256 = "0" * 64
        self._environment = {
            "host": world.current.host, "device": "cpu", "commit": None, "dirty": None,
            "versions": "{}",
        }  # fmt: skip

    def run(self, trials: Sequence[Trial], methods: Sequence[str], *rest: Any) -> Any:
        with self._watch(trials, methods):
            return super().run(trials, methods, *rest)

    def _engine(self, trial: Trial) -> str:
        return "fused"

    def _train(  # type: ignore[override]
        self, trials: Sequence[Trial], resumed: State | None, checkpoint: Any, listener: Any
    ) -> list[Outcome]:
        states = resumed.trainers if resumed else [_first(trial) for trial in trials]
        for epoch in range(len(states[0].history), trials[0].epochs + 1):
            self._world.wait(EPOCH_SECONDS * self._world.random.uniform(0.5, 1.5))
            self._world.operation(f"epoch {epoch} of {[trial.id for trial in trials]}")
            watchdog.beat()
            for state in states:
                _step(state, epoch)
            if checkpoint.due():
                checkpoint.save(State(states, {}, self._world.now))
        return [
            _outcome(trial, state, self._backbone)
            for trial, state in zip(trials, states, strict=True)
        ]


def _first(trial: Trial) -> TrainerState:
    digest = hashlib.sha256(trial.id.encode()).digest()
    return TrainerState([Epoch(0)], {}, {}, {}, _tensor(digest), None)


def _scores(value: int) -> dict[str, float]:
    return {"accuracy": value / 255, "f1": value / 255}


def _tensor(digest: bytes) -> torch.Tensor:
    return torch.tensor(list(digest), dtype=torch.uint8)


def _step(state: TrainerState, epoch: int) -> None:
    digest = hashlib.sha256(bytes(state.generator.tolist()) + bytes([epoch])).digest()
    state.generator = _tensor(digest)
    state.history.append(Epoch(epoch, digest[0] / 255, {LAYERS: _scores(digest[1])}))


def _outcome(trial: Trial, state: TrainerState, backbone: Backbone) -> Outcome:
    digest = state.generator.tolist()
    selected = [layer for layer in range(LAYERS) if digest[layer] % 2] or [0]
    evaluation = Evaluation(
        adapter_layers=list(trial.layers),
        selected_layers=selected if trial.switched else None,
        final_selected_layers=selected if trial.switched else None,
        best_epoch=trial.epochs,
        development=_scores(digest[4]),
        test=_scores(digest[5]),
        answers=digest[6],
        input_histograms={},
        test_seconds=1.0,
        adapter_parameters=int.from_bytes(bytes(digest[8:14]), "big"),
    )
    return Outcome(state.history, [evaluation], EPOCH_SECONDS, 1)


def actor_class(cluster: Cluster, backbone: Backbone, watch: Any) -> type[TrialActor]:
    """Return a study's actor class, with a stand-in for its worker."""
    world = cluster.world

    class SimulatedActor(TrialActor):
        def step(self) -> dict[str, Any]:
            self.step_began = world.now
            return super().step()

        def make_teller(self) -> Any:
            return cluster.teller(self._config["id"])

        def make_worker(self, setting: dict[str, Any], store: Store) -> Worker:
            return StandIn(
                world, backbone, store, lambda *started: watch(self.step_began, *started)
            )

    return SimulatedActor
