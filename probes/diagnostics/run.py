"""`jepa-wm probe world`: whether a world model is one."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from jepa_wm.envs import PUSH_T, TWO_ROOMS
from jepa_wm.errors import UserError
from jepa_wm.files import write_json
from jepa_wm.manifest import is_done, stage_run
from jepa_wm.world_model import WorldModel
from probes.diagnostics.controls import seen, untrained, untrained_dynamics, views
from probes.diagnostics.distances import places, planning_distance, step_distances, true_distances
from probes.diagnostics.drift_curve import drift_curve
from probes.diagnostics.held import Held, mean_actions, read_held
from probes.diagnostics.impossible import film_of_clip, twins
from probes.diagnostics.inverse import inverse_dynamics
from probes.diagnostics.latents import decay, paths, ranks, sphere
from probes.diagnostics.plan_ranks import foresight, plan_ranks, play_plans, true_costs
from probes.diagnostics.rows import Row, row, table
from probes.diagnostics.sensitivity import imagine_others, sensitivity
from probes.diagnostics.surprise import change, surprise, violations
from probes.drift import Film, encode, stray

STAGE, RESULTS = "probe world", "diagnostics.json"

PLAYED = 16
"""Episodes whose plans are played."""

Diagnosis = Callable[[WorldModel, Held, int], list[Row]]


def diagnose(model: str, data: str, out: str, episodes: int = 64, horizon: int = 8, seed: int = 0) -> None:
    """Ask of a world model whether it is one, on held-out episodes and beside controls.

    Writes diagnostics.json: health of the latents, drift over the horizon, sensitivity to actions, inverse dynamics,
    what latent distance says of the true one, ranks of plans, and in the two rooms violation of expectation. Each
    number stands beside its null, an interval over whole episodes, and controls: parts that were never trained, the
    pixels, the state. docs/diagnostics.md says what each means. What cannot be asked of a world is left out, and named.

    Args:
        model: run folder or saved folder of a world model.
        data: folder of shards.
        out: folder for the results.
        episodes: test episodes, and as many of train and of val to fit inverse dynamics on.
        horizon: blocks of actions that are imagined.
        seed: seeds untrained parts, plans, impossible clips and intervals.

    Raises:
        UserError: if a folder is missing or unfinished, the episodes are too short, or a number is out of range.
    """
    config = dict(locals())
    if episodes < 4 or horizon < 2 or seed < 0:
        raise UserError(
            f"probe world: got episodes {episodes}, horizon {horizon}, seed {seed}; expected at least 4, 2 and 0"
        )
    folder = Path(out)
    if is_done(out, STAGE, config):
        return
    loaded = WorldModel.from_pretrained(model)
    held = read_held(data, loaded, episodes, horizon)
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    with stage_run(folder, STAGE, config) as fields:
        for name, ask in DIAGNOSES.items():
            try:
                rows += ask(loaded, held, seed)
            except UserError as error:
                left_out[name] = str(error)
        write_json(folder / RESULTS, {"frame_skip": loaded.dynamics.frame_skip, "left_out": left_out, "rows": rows})
        fields["left_out"] = sorted(left_out)
    print(table([each for each in rows if each["step"] in (None, 1, horizon)]))
    for name, why in left_out.items():
        print(f"{name} is left out: {why}")
    print(f"{len(rows)} measurements: {folder / RESULTS}")


def health(measure: Callable[[Tensor, str, int], list[Row]]) -> Diagnosis:
    """One measure of the latents' health, pooled over tokens.

    Each is asked by itself: of latents that have collapsed some cannot be taken, and others show it.
    """

    def ask(model: WorldModel, held: Held, seed: int) -> list[Row]:
        rows = []
        for name, each in {"model": model, "random_init": untrained(model, seed)}.items():
            pooled = encode(each, held.film.pixels.flatten(0, 1), held.film.state.flatten(0, 1)).mean(dim=1)
            rows += measure(pooled.unflatten(0, held.film.state.shape[:2]), name, seed)
        return rows

    return ask


def straight(model: WorldModel, held: Held, seed: int) -> list[Row]:
    """How straight latents run."""
    return [each for name, view in views(model, seed).items() for each in paths(seen(view, held.film), name, seed)]


def drift(model: WorldModel, held: Held, seed: int) -> list[Row]:
    """How far imagination strays."""
    found = stray(model, held.film)
    rows = drift_curve(found, "model", seed)
    rows += drift_curve(found._replace(imagined=found.still), "still", seed)
    return rows + drift_curve(stray(untrained_dynamics(model, seed), held.film), "untrained_dynamics", seed)


def actions(model: WorldModel, held: Held, seed: int) -> list[Row]:
    """Whether the model listens to actions, and whether its latents tell what they were."""
    film, rows = held.film, []
    real = encode(model, film.pixels.flatten(0, 1), film.state.flatten(0, 1)).unflatten(0, film.state.shape[:2])
    for name, each in {"model": model, "untrained_dynamics": untrained_dynamics(model, seed)}.items():
        rows += sensitivity(imagine_others(each, film, seed=seed), real, name, seed)
    films = {**held.fitting, "test": film}
    done = {split: mean_actions(each, model) for split, each in films.items()}
    for name, view in views(model, seed).items():
        latents = {split: seen(view, each) for split, each in films.items()}
        rows.append(row("inverse_dynamics_r2", inverse_dynamics(latents, done, seed), name))
    return rows


def distance(model: WorldModel, held: Held, seed: int) -> list[Row]:
    """What latent distance says of the true one, and of the steps between."""
    state, rows = places(held.film.state, held.environment, held.factors), list[Row]()
    truths = {"distance": true_distances(state, held.rooms), "steps": step_distances(state)}
    for name, view in views(model, seed).items():
        # What the truth is made of, without what is none of it: the ceiling.
        latents = state if name == "state" else seen(view, held.film)
        for kind, truth in truths.items():
            rows += planning_distance(latents, truth, kind, name, seed)
    return rows


def plans(model: WorldModel, held: Held, seed: int) -> list[Row]:
    """Whether plans that the model thinks good are."""
    environment = held.require("plans", TWO_ROOMS, PUSH_T)
    film = Film(*(part[:PLAYED] for part in held.film))
    factors = {name: values[:PLAYED] for name, values in held.factors.items()}
    played = play_plans(environment, film, factors, model, seed=seed)
    began, ended = (places(part.state, environment, factors) for part in (film, played))
    truth = true_costs(film._replace(state=began), played._replace(state=ended), factors if held.rooms else None)
    rows = plan_ranks(model, film, played, truth, "model", seed) + foresight(model, film, played, truth, seed)
    return rows + plan_ranks(untrained_dynamics(model, seed), film, played, truth, "untrained_dynamics", seed)


def expectation(model: WorldModel, held: Held, seed: int) -> list[Row]:
    """Whether what cannot be surprises."""
    held.require("violation of expectation", TWO_ROOMS)
    size, rows = held.film.pixels.shape[-1], []
    models = {
        "model": model,
        "untrained_dynamics": untrained_dynamics(model, seed),
        "random_init": untrained(model, seed),
    }
    made = twins(held.film.state.numpy(), held.film.actions.numpy(), held.factors, seed)
    for kind, pair in made.items():
        can, cannot = (film_of_clip(clip, size) for clip in (pair.possible, pair.impossible))
        for name, each in models.items():
            rows += violations(surprise(each, can), surprise(each, cannot), kind, name, seed)
        see = views(model, seed)
        for name, view in {"still": see["model"], "pixels": see["pixels"]}.items():
            rows += violations(change(seen(view, can)), change(seen(view, cannot)), kind, name, seed)
    return rows


DIAGNOSES: dict[str, Diagnosis] = {
    "ranks": health(ranks),
    "decay of the spectrum": health(decay),
    "sphere": health(sphere),
    "straightness": straight,
    "drift": drift,
    "actions": actions,
    "distance": distance,
    "plans": plans,
    "expectation": expectation,
}
