"""The pixels of a batch in one piece: rows handed over are the batch, and only where none was left unused."""

import numpy as np

from jepa_wm.data.canvas import Canvas


def test_rows_become_the_batch_without_a_copy():
    canvas = Canvas(3)
    rows = [canvas.row((2, 2, 3)) for _ in range(2)]
    for number, row in enumerate(rows):
        row[:] = number
    batch = canvas.take(rows)
    assert batch is not None and batch[:, 0, 0, 0].tolist() == [0, 1]
    assert batch.data_ptr() == rows[0].ctypes.data


def test_a_row_left_unused_is_no_row_of_the_batch():
    canvas = Canvas(3)
    rows = [canvas.row((2, 2, 3)) for _ in range(3)]
    assert canvas.take(rows[1:]) is None
    canvas.used = 1
    assert canvas.row((2, 2, 3)).ctypes.data == rows[1].ctypes.data


def test_rows_of_another_shape_or_too_many_have_memory_of_their_own():
    canvas = Canvas(1)
    first, other, more = canvas.row((2, 2, 3)), canvas.row((4, 2, 3)), canvas.row((2, 2, 3))
    assert other.shape == (4, 2, 3) and not np.shares_memory(first, more)
    assert canvas.take([first, more]) is None and canvas.take([more]) is None
