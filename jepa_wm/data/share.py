"""How the positions of an epoch are shared among batches and ranks."""

from itertools import pairwise


def steps_of(begin: int, end: int, size: int, rank: int, world: int, full: bool) -> list[tuple[int, int, int]]:
    """The steps of one rank through positions begin … end-1 of an epoch; every rank has equally many.

    Step i takes `size` adjacent positions for each rank, so that the ranks together pass through the epoch in
    its order. What is left at the end and does not fill a batch on every rank is either left out or shared as
    evenly as can be: by itself if each rank gets some of it, else as part of the step before, whose batches
    are then larger by one at most.

    Args:
        begin: first position.
        end: past the last.
        size: samples of a batch on each rank.
        rank: this rank.
        world: ranks.
        full: whether what does not fill a batch on every rank is left out.

    Returns:
        For each step the rank's first position, the one past its last, and the one past the last of all ranks;
        no steps at all if there are fewer positions than ranks.
    """
    whole, left = divmod(max(end - begin, 0), size * world)
    steps = [begin + step * size * world for step in range(whole + 1)]
    if not full and left:
        if left < world and whole:
            steps.pop()
        if left >= world or whole:
            steps.append(end)
    return [(*_share(start, stop, rank, world), stop) for start, stop in pairwise(steps)]


def _share(start: int, stop: int, rank: int, world: int) -> tuple[int, int]:
    each, more = divmod(stop - start, world)
    first = start + rank * each + min(rank, more)
    return first, first + each + (rank < more)
