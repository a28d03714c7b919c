"""BatchNorm is torch's, over the rows of all ranks."""

import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from jepa_wm.encoders.batch_norm import BatchNorm


def rows() -> torch.Tensor:
    return torch.randn(8, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1


def on_a_rank(rank: int, port: int, results: mp.SimpleQueue) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    norm, x = BatchNorm(5), rows()[4 * rank : 4 * rank + 4].requires_grad_()
    y = norm(x)
    y.square().cos().sum().backward()
    assert norm.running_mean is not None and norm.running_var is not None
    found = (y, x.grad, norm.running_mean, norm.running_var)
    results.put((rank, [part.tolist() for part in found if part is not None]))
    dist.destroy_process_group()


def test_it_is_torchs_own() -> None:
    ours, theirs, x = BatchNorm(5), torch.nn.BatchNorm1d(5), rows()
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_two_ranks_are_one_and_remember_the_same() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results = mp.get_context("spawn").SimpleQueue()
    mp.spawn(on_a_rank, (port, results), nprocs=2)
    found = dict(results.get() for _ in range(2))
    theirs, x = torch.nn.BatchNorm1d(5), rows().requires_grad_()
    y = theirs(x)
    y.square().cos().sum().backward()
    assert x.grad is not None and theirs.running_mean is not None and theirs.running_var is not None
    for place, whole in enumerate((y, x.grad)):
        both = torch.tensor(found[0][place] + found[1][place])
        torch.testing.assert_close(both, whole.detach(), rtol=1e-4, atol=1e-5)
    for rank in range(2):
        torch.testing.assert_close(torch.tensor(found[rank][2]), theirs.running_mean)
        torch.testing.assert_close(torch.tensor(found[rank][3]), theirs.running_var)
