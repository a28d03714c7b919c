"""Where the shipped configs are, and which of them a name means."""

from pathlib import Path

from jepa_wm.errors import UserError


def config_root() -> Path:
    """The folder of shipped configs: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def shipped_configs() -> list[str]:
    """Names of the shipped configs, such as `two_rooms/collect`."""
    root = config_root()
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def find_config(name: str) -> Path:
    """The file that `name` means: a path, or a shipped config with or without its `.yaml`.

    Raises:
        UserError: if there is neither.
    """
    root = config_root()
    for path in (Path(name), root / name, root / f"{name}.yaml"):
        if path.is_file():
            return path
    shipped = ", ".join(shipped_configs())
    raise UserError(f"config '{name}' is neither a file nor a shipped config; shipped are {shipped}")
