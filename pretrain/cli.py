"""`jepa-wm pretrain` and `jepa-wm forecast`: LightningCLI on a run folder."""

import logging
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from jepa_wm.errors import UserError
from jepa_wm.files import read_json
from jepa_wm.manifest import is_complete, read_manifest, stage_run
from jepa_wm.precision import has_bf16
from pretrain.callbacks import Beginning, Counts, Health, Resumable, Snapshots
from pretrain.data import ClipDataModule
from pretrain.logger import JsonLogger
from pretrain.module import Training

OF_THE_MACHINE = {"data.workers", "data.cache", "trainer.accelerator", "trainer.devices", "trainer.num_nodes"}
"""Settings that a run may be continued with others of: the data come in the same order."""


class Command(LightningCLI):
    """The command line of training: `model`, `data`, `trainer`, and the run folder."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run folder and what is kept in it."""
        parser.add_argument("--stage", type=Literal["pretrain", "forecast"], help="what the run is called")
        parser.add_argument("--run", type=str, help="run folder; one that was interrupted is continued")
        parser.add_argument("--source", type=str | None, default=None, help="run folder to start from (${source})")
        parser.add_argument("--snapshots", type=int, default=5, help="checkpoints of the model over training")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse what the verb was given; Lightning's own warns when the command line holds anything."""
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        """Refuse a run folder that holds something else, before anything is built."""
        run = Path(self.config.run)
        config = plain_config(self)
        started = run / "config.json"
        if is_complete(run):
            read_manifest(run, self.config.stage)
        if started.is_file() and (different := _differences(read_json(started), config)):
            raise UserError(
                f"{run} was started with other settings ({', '.join(different)}); "
                "use another --run, or delete it to start again"
            )
        if not started.is_file() and run.is_dir() and any(run.iterdir()):
            raise UserError(f"{run} is not empty and is no run of {self.config.stage}; use another --run")

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer, with this package's callbacks and log."""
        run = Path(self.config.run)
        precision = self.config.trainer.precision or ("bf16-mixed" if has_bf16(_device()) else "32-true")
        callbacks = [
            Beginning(run, plain_config(self)),
            Snapshots(run, self.config.snapshots),
            Resumable(run),
            Counts(),
            Health(_first_folder(self.config.data.folder)),
        ]
        return super().instantiate_trainer(
            default_root_dir=run,
            precision=precision,
            logger=JsonLogger(run),
            callbacks=callbacks,
            enable_checkpointing=False,
            **kwargs,
        )


def main(args: list[str]) -> None:
    """Train what a config describes, from where its run folder stands.

    Args:
        args: command line arguments, `--config` and `--run` among them.

    Raises:
        UserError: if the run folder is complete with, or was begun with, other settings.
        argparse.ArgumentError: if a key is unknown or a value of the wrong type.
    """
    _quieten()
    command = Command(
        Training,
        ClipDataModule,
        args=args,
        run=False,
        seed_everything_default=0,
        save_config_callback=None,
        parser_kwargs={"exit_on_error": False, "parser_mode": "omegaconf+", "allow_abbrev": False},
    )
    config, run = plain_config(command), Path(command.config.run)
    if is_complete(run):
        print(f"{run} is complete already")
        return
    resume = run / "resume.ckpt"
    with stage_run(run, command.config.stage, config) as fields:
        command.trainer.fit(
            command.model,
            datamodule=command.datamodule,
            ckpt_path=resume if resume.is_file() else None,
            weights_only=True if resume.is_file() else None,
        )
        if command.trainer.interrupted:
            raise KeyboardInterrupt
        fields["steps"] = command.trainer.global_step
        fields["data"] = command.datamodule.report()
        resume.unlink(missing_ok=True)


def _first_folder(folder: Any) -> str:
    """The folder whose held-out frames are probed during training: of a mixture, the first."""
    return folder if isinstance(folder, str) else next(iter(folder))


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _quieten() -> None:
    """Hide what Lightning says at every start and no user of this package can act on."""
    for logger in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    for message in ("`isinstance\\(treespec", "Found .* module\\(s\\) in eval mode"):
        warnings.filterwarnings("ignore", message=f".*{message}")


def plain_config(command: Command) -> dict[str, Any]:
    """The parsed configuration as JSON values."""
    config: dict[str, Any] = yaml.safe_load(command.parser.dump(command.config, skip_unset=False))
    config.pop("config", None)
    return config


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The sections in which two configurations differ, settings of the machine aside."""
    return [key for key in sorted(set(old) | set(new)) if _of_the_run(key, old) != _of_the_run(key, new)]


def _of_the_run(section: str, config: dict[str, Any]) -> Any:
    value = config.get(section)
    if not isinstance(value, dict):
        return value
    return {name: setting for name, setting in value.items() if f"{section}.{name}" not in OF_THE_MACHINE}
