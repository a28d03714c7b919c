"""`jepa-wm pretrain` and `jepa-wm forecast`: LightningCLI on a run folder."""

import logging
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
import yaml
from jsonargparse.typing import PositiveInt
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from jepa_wm.allocator import keep_freed_memory
from jepa_wm.data import Shards
from jepa_wm.errors import UserError
from jepa_wm.manifest import is_complete, stage_run
from jepa_wm.precision import has_bf16
from pretrain.advice import Recipe, advice
from pretrain.callbacks import (
    Beginning,
    Calibrate,
    Counts,
    Final,
    Health,
    NanGuard,
    Resumable,
    Snapshots,
    StartFrom,
    StepsBar,
)
from pretrain.callbacks.held_out import side_of
from pretrain.callbacks.resumable import resume_path
from pretrain.configuration import device_count
from pretrain.data import ClipDataModule
from pretrain.loggers import CsvTable, JsonLines, TensorBoard, WeightsAndBiases
from pretrain.module import Training
from pretrain.settings import changes, check_folder, check_steps
from pretrain.terms import with_terms


class Command(LightningCLI):
    """The command line of training: `model`, `data`, `trainer`, and the run folder."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run folder and what is kept in it."""
        parser.add_argument("--stage", type=Literal["pretrain", "forecast"], help="what the run is called")
        parser.add_argument("--run", type=str, help="run folder; one that was interrupted is continued")
        parser.add_argument("--source", type=str | None, default=None, help="run folder to start from (${source})")
        parser.add_argument("--start_from", type=str | None, default=None, help="run whose end this one begins with")
        parser.add_argument("--snapshots", type=int, default=5, help="checkpoints of the model over training")
        parser.add_argument(
            "--calibration_frames",
            type=PositiveInt | None,
            default=None,
            help="frames of the clips that an ensemble's expected error is fitted to; those of data.frames if none",
        )
        parser.add_argument("--wandb", type=str | None, default=None, help="Weights & Biases project to log to, too")
        parser.add_argument("--recipe", type=Recipe | None, default=None, help="what the settings were found for")
        parser.add_class_arguments(Resumable, "resume", skip={"run"}, instantiate=False)
        parser.add_class_arguments(Health, "health", skip={"shards"}, instantiate=False)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse what the verb was given; Lightning's own warns when the command line holds anything."""
        self.config = parser.parse_args(with_terms(parser, args))
        check_steps(plain_config(self))

    def before_instantiate_classes(self) -> None:
        """Refuse a run folder that holds something else, before anything is built."""
        check_folder(Path(self.config.run), self.config.stage, plain_config(self))

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """The trainer, with this package's callbacks and log."""
        run = Path(self.config.run)
        precision = self.config.trainer.precision or ("bf16-mixed" if has_bf16(_device()) else "32-true")
        guard = NanGuard(run)
        # The guard is before those that save.
        callbacks = [
            Beginning(run, plain_config(self)),
            guard,
            Calibrate(self.config.calibration_frames),
            Snapshots(run, self.config.snapshots, guard),
            Resumable(run, **vars(self.config_init.resume)),
            Counts(),
            self._health(),
            Final(run),
        ]
        if self.config.start_from and not resume_path(run).is_file():
            callbacks.append(StartFrom(self.config.start_from))
        if self.config.trainer.enable_progress_bar is not False:
            callbacks.append(StepsBar())
        # The table is made of the JSON lines, so it is after them.
        loggers = [JsonLines(run), CsvTable(run), TensorBoard(run)]
        if self.config.wandb:
            loggers.append(WeightsAndBiases(run, self.config.wandb))
        return super().instantiate_trainer(
            default_root_dir=run,
            precision=precision,
            strategy=self._strategy(),
            logger=loggers,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            **kwargs,
        )

    def _strategy(self) -> Any:
        """The strategy that was asked for; unasked, over several devices one that minds parameters without gradient.

        Few objectives use all of an encoder: its pooling, or the embedding of images, may play no part in a loss.
        """
        asked = self.config_init.trainer.strategy
        several = device_count(plain_config(self)) > 1
        return "ddp_find_unused_parameters_true" if asked == "auto" and several else asked

    def _health(self) -> Health:
        """Of a mixture's folders the first is watched; frames are as large as those that are trained on."""
        folder = self.config.data.folder
        settings = vars(self.config_init.health)
        settings["size"] = settings["size"] or side_of(self.datamodule.transform)
        folder = folder if isinstance(folder, str) else next(iter(folder))
        return Health(Shards(folder, "val", self.datamodule.cache), **settings)


class Check(Command):
    """The same command line, read and not acted upon."""

    def before_instantiate_classes(self) -> None:
        """Look at no folder."""

    def instantiate_classes(self) -> None:
        """Build nothing."""


def main(args: list[str]) -> None:
    """Train what a config describes, from where its run folder stands.

    Args:
        args: command line arguments, `--config` and `--run` among them.

    Raises:
        UserError: if the number of steps is not said, the run folder is complete with, or was begun with, other
            settings, or training ended before its last step.
        argparse.ArgumentError: if a key is unknown or a value of the wrong type.
    """
    _quieten()
    keep_freed_memory()
    command = _parsed(Command, args)
    config, run = plain_config(command), Path(command.config.run)
    if is_complete(run):
        print(f"{run} is complete already")
        return
    trainer, resume = command.trainer, resume_path(run)
    if trainer.is_global_zero:
        for warning in [*advice(config), *changes(run, config)]:
            print(f"warning: {warning}", file=sys.stderr)
    # Only the first rank writes, and not before all others have come to the end.
    manifest: AbstractContextManager[dict[str, Any]] = (
        stage_run(run, command.config.stage, config) if trainer.is_global_zero else nullcontext({})
    )
    with manifest as fields:
        trainer.fit(
            command.model,
            datamodule=command.datamodule,
            ckpt_path=resume if resume.is_file() else None,
            weights_only=True if resume.is_file() else None,
        )
        if trainer.interrupted:
            raise KeyboardInterrupt
        if trainer.global_step < trainer.max_steps:
            raise UserError(
                f"{run}: training ended after step {trainer.global_step} of {trainer.max_steps}; expected all of them: "
                "leave trainer.max_epochs and trainer.max_time unset"
            )
        trainer.strategy.barrier()
        fields |= {"steps": trainer.global_step, "data": command.datamodule.report()}
    if trainer.is_global_zero:
        resume.unlink(missing_ok=True)


def check(args: list[str]) -> None:
    """Print what is likely to be wrong with a config, a line each, and end with code 1 if there is anything.

    Args:
        args: as of `main`.

    Raises:
        argparse.ArgumentError: if a key is unknown or a value of the wrong type.
    """
    _quieten()
    found = advice(plain_config(_parsed(Check, args)))
    for warning in found:
        print(f"warning: {warning}")
    if found:
        raise SystemExit(1)
    print("nothing to warn of")


def _parsed(command: type[Command], args: list[str]) -> Command:
    return command(
        Training,
        ClipDataModule,
        args=args,
        run=False,
        seed_everything_default=0,
        save_config_callback=None,
        # The module has its own; one given here would take its place.
        auto_configure_optimizers=False,
        parser_kwargs={"exit_on_error": False, "parser_mode": "omegaconf+", "allow_abbrev": False},
    )


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _quieten() -> None:
    """Hide what Lightning says at every start and no user of this package can act on."""
    for logger in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    for message in (
        "`isinstance\\(treespec",
        "Found .* module\\(s\\) in eval mode",
        "It is recommended to use `self.log",
    ):
        warnings.filterwarnings("ignore", message=f".*{message}")


def plain_config(command: Command) -> dict[str, Any]:
    """The parsed configuration as JSON values."""
    config: dict[str, Any] = yaml.safe_load(command.parser.dump(command.config, skip_unset=False))
    config.pop("config", None)
    return config
