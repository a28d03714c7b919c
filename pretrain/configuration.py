"""Reading a configuration of training: what stands where, and how many samples a step has."""

from typing import Any

import torch

Config = dict[str, Any]


def get(config: Any, path: str, default: Any = None) -> Any:
    """What stands at a dotted path; the default where nothing does, or null."""
    for key in path.split("."):
        config = config.get(key) if isinstance(config, dict) else None
    return default if config is None else config


def accumulated(config: Config) -> int:
    """Batches of an optimiser step on each device."""
    return int(get(config, "trainer.accumulate_grad_batches", 1))


def samples_of_a_step(config: Config) -> int:
    """Samples of an optimiser step, over all devices and accumulated batches."""
    return int(get(config, "data.batch_size")) * device_count(config) * accumulated(config)


def device_count(config: Config) -> int:
    """Devices over all nodes; where their number is left to the machine, as many as it has."""
    devices = get(config, "trainer.devices", "auto")
    if isinstance(devices, str) and devices.lstrip("-").isdigit():
        devices = int(devices)
    if devices in ("auto", -1):
        devices = max(torch.cuda.device_count(), 1)
    count = (
        len(devices) if isinstance(devices, list) else len(devices.split(",")) if isinstance(devices, str) else devices
    )
    return int(count * get(config, "trainer.num_nodes", 1))
