"""Where `jepa-wm plan` plays: what the shards say of it, and the run of a model."""

from pathlib import Path
from typing import Any, NamedTuple, Self

from jepa_wm.data.folder import STAGES
from jepa_wm.errors import UserError
from jepa_wm.manifest import is_complete, read_manifest
from jepa_wm.model_folder import NAME as SAVED


class Setting(NamedTuple):
    """A world as it was recorded in shards, and as a model was shown it.

    Attributes:
        environment: gymnasium id; None where shards of another format do not say it.
        size: side of the recorded frames in pixels.
        factors: factors of variation of a world of ours, by name.
        sees: side of the pictures that the model was trained on, where its run says it; else those are as recorded.
    """

    environment: str | None
    size: int
    factors: dict[str, Any] | None = None
    sees: int | None = None

    @classmethod
    def of(cls, model: str, data: str) -> Self:
        """What a folder of shards says, and the run of a model.

        Raises:
            UserError: if the folder holds no episodes of square frames, or is of another world than the model's.
        """
        manifest = read_manifest(data, *STAGES)
        sources = _sources(model).values()
        trained = {source["environment"] for source in sources if source.get("environment")}
        sides = {source["side"] for source in sources if source.get("side")}
        sees = sides.pop() if len(sides) == 1 else None
        if manifest["stage"] == "collect":
            config = manifest["config"]
            found = cls(config["environment"], config["size"], config["factors"], sees)
        else:
            found = cls(manifest.get("environment"), _side(manifest, data), None, sees)
        if trained and found.environment and found.environment not in trained:
            raise UserError(
                f"plan: {model} was trained in {', '.join(sorted(trained))}; got {data}, which is of "
                f"{found.environment}: plan in the world that the model knows"
            )
        return found

    def within(self, environment: str | None, data: str) -> str:
        """The world that was recorded in `data`, which `environment` names where that does not say it.

        Raises:
            UserError: if neither says it, or both and not the same.
        """
        name = self.environment or environment
        if name is None:
            raise UserError(
                f"plan: {data} does not say in which world it was recorded; expected --environment beside it, such as "
                "swm/PushT-v1"
            )
        if environment not in (None, name):
            raise UserError(
                f"plan: got environment {environment} without a goal; expected --goal beside it, or {name}: success is "
                f"counted in the world of the shards, {data}"
            )
        return name


def learned_from(model: str) -> str | None:
    """A folder of shards that a run's model learned from and that says its world, if one is there still."""
    there = [folder for folder in _sources(model) if is_complete(folder)]
    return next((folder for folder in there if read_manifest(folder).get("environment")), None)


def _sources(model: str) -> dict[str, dict[str, Any]]:
    """What a run says of the data that its model learned from, by folder; of a saved model it is not known."""
    if not Path(model).exists() or (Path(model) / SAVED).is_file():
        return {}
    found: dict[str, dict[str, Any]] = read_manifest(model, "forecast").get("data", {})
    return found


def _side(manifest: dict[str, Any], data: str) -> int:
    shape = manifest.get("frame_shape")
    if manifest.get("kind") != "episodes" or not shape or shape[-1] != shape[-2]:
        raise UserError(
            f"plan: {data} holds {manifest.get('kind')} with frames {shape}; expected episodes whose frames are all "
            "(3, size, size)"
        )
    return int(shape[-1])
