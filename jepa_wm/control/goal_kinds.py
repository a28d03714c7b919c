"""Which goals an environment has."""

from importlib import import_module
from pathlib import Path

from jepa_wm.control.goals import GoalSet, Task
from jepa_wm.control.recorded_goals import RecordedGoals
from jepa_wm.control.restored_goals import restored_in
from jepa_wm.envs import PUSH_T, TWO_ROOMS
from jepa_wm.errors import UserError
from jepa_wm.files import read_json

KINDS = {TWO_ROOMS: "jepa_wm.control.two_rooms_goals", PUSH_T: "jepa_wm.control.push_t_goals"}
"""Where the kinds of goals of a world of ours are, as `KINDS`; imported on use. Others have recorded ones alone."""


def kinds_of(environment: str, recorded: bool = False) -> dict[str, type[GoalSet]]:
    """The kinds of goals of an environment, by name: "image", and "text" where sentences are goals.

    Args:
        environment: gymnasium id.
        recorded: whether images are of recorded episodes, not drawn.

    Raises:
        UserError: if it is no world of ours and cannot be put at recorded states.
    """
    if environment not in KINDS:
        return {"image": restored_in(environment)}
    kinds: tuple[type[GoalSet], ...] = import_module(KINDS[environment]).KINDS
    return {kind.kind: kind for kind in kinds if kind.kind != "image" or issubclass(kind, RecordedGoals) == recorded}


def draw_goals(environment: str, kind: str, data: str, episodes: int, seed: int, task: Task) -> GoalSet:
    """Goals of one kind, as a task asks for them.

    Raises:
        UserError: as `GoalSet.draw`, or if the task does not fit the environment.
    """
    if task.least_steps and (environment != TWO_ROOMS or task.ahead is not None):
        raise UserError(
            f"plan: got least_steps {task.least_steps} in {environment}, ahead {task.ahead}; expected 0: only goals "
            "that are drawn in the two rooms can be asked to be far"
        )
    return kinds_of(environment, task.ahead is not None)[kind].draw(data, episodes, seed, task)


def read_goals(folder: str, environment: str, kind: str) -> GoalSet:
    """The goal set that an earlier run of `plan` left in its folder.

    Raises:
        UserError: if it did not, or of another environment.
    """
    path = Path(folder) / f"goals-{kind}.json"
    if not path.is_file():
        raise UserError(
            f"plan: {path} is missing; expected a folder that an earlier run of plan wrote; a sentence or a picture is "
            "given by --goal"
        )
    values = read_json(path)
    try:
        if values["environment"] != environment:
            raise UserError(f"plan: {path} is of {values['environment']}; expected {environment}")
        # What was recorded comes with its actions.
        found = kinds_of(environment, "actions" in values)[kind].from_json(values)
        found.check()
        return found
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"plan: {path} is no goal set ({error!r}); run plan again without goals") from None
