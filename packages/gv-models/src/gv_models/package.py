"""Model packages: a folder with all that inference needs, and nothing that runs code.

``weights.safetensors`` holds the weights, ``model.json`` the card and the SHA-256 of every other
file, ``README.md`` and ``item.json`` describe the package to people and to STAC. The manifest is
written last and the folder is renamed into place, so a reader sees a whole package or none.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gv_models.card import Band, Card
from gv_models.documents import readme, stac_item
from gv_models.errors import PackageError
from gv_models.folding import folded
from gv_models.networks import Segmenter, unet

__all__ = ["SCHEMA", "Band", "Card", "Package", "Probabilities", "load", "save"]

SCHEMA = 1
"""Version of ``model.json``; a reader refuses newer ones."""

_WEIGHTS, _MANIFEST = "weights.safetensors", "model.json"
_FILES = (_WEIGHTS, "README.md", "item.json")
"""What a manifest may list: a closed table, so that no path leaves the folder."""

_MAX_MANIFEST_BYTES = 1_000_000

_PREPARING = threading.Lock()


class Probabilities(nn.Module):
    """A network with its normalisation before it and a sigmoid behind it.

    Args:
        network: Wants normalised bands, gives logits.
        card: Mean and standard deviation of each band.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Segmenter, card: Card) -> None:
        super().__init__()
        self.network = network
        for name in ("mean", "std"):
            values = torch.tensor([getattr(band, name) for band in card.bands])
            self.register_buffer(name, values[None, :, None, None])

    def forward(self, image: Float[Tensor, "b c h w"]) -> dict[str, Float[Tensor, "b k h w"]]:
        """Probabilities of each head for an image in physical units."""
        logits = self.network((image - self.mean) / self.std)
        return {head: values.sigmoid() for head, values in logits.items()}


@dataclass(frozen=True)
class Package:
    """A network ready to predict, with its card."""

    network: Segmenter
    """In evaluation mode."""
    card: Card

    def predict(self, image: Float[Tensor, "b c h w"]) -> dict[str, Float[Tensor, "b k h w"]]:
        """Probabilities of each head, on the device of the network.

        Args:
            image: Bands in the order and the physical units of the card, of any size. Fill nodata
                with the mean of the band first: NaN spreads.

        Returns:
            Float32 in [0, 1], one tensor a head, at the size of the image.

        Raises:
            PackageError: If the number of bands differs.
        """
        if image.ndim != 4 or image.shape[1] != len(self.card.bands):
            raise PackageError(
                f"predict wants (b, {len(self.card.bands)}, h, w), got {tuple(image.shape)}"
            )
        with _PREPARING:  # several threads may ask at once
            whole = self._whole
        with torch.inference_mode():
            return whole(
                image.to(whole.mean.device, torch.float32, memory_format=torch.channels_last)
            )

    @cached_property
    def _whole(self) -> Probabilities:
        weight = next(self.network.parameters())
        example = torch.zeros(1, len(self.card.bands), 64, 64).to(weight)
        return Probabilities(folded(self.network, example), self.card).to(weight.device)


def save(folder: str | Path, network: Segmenter, card: Card, *, overwrite: bool = False) -> Path:
    """Write a package.

    Args:
        folder: Where; its name is the name of the package.
        network: Trained network; it is not changed.
        card: What it is; it must describe this network.
        overwrite: Whether an existing package may be replaced. It stays until the new one is whole.

    Returns:
        The folder.

    Raises:
        PackageError: If the folder exists and may not be replaced or is no package, or the card
            describes another network.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not overwrite:
        raise PackageError(f"{folder} exists already: choose another name or allow overwriting")
    if folder.exists() and not (folder / _MANIFEST).is_file():
        raise PackageError(
            f"{folder} is not a package and will not be replaced: choose another name"
        )
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    _match(state, _empty_network(card), "the network is not the one its card describes")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.parent / f".{folder.name}.{os.getpid()}.{secrets.token_hex(4)}.part"
    part.mkdir()
    try:
        parameters = sum(value.numel() for value in network.parameters())
        safetensors.torch.save_file(state, part / _WEIGHTS)
        (part / "README.md").write_text(readme(card, folder.name), encoding="utf-8")
        _write_json(part / "item.json", stac_item(card, folder.name, parameters))
        files = {name: _sha256((part / name).read_bytes()) for name in _FILES}
        _write_json(part / _MANIFEST, {"schema": SCHEMA, "files": files, "card": card.to_json()})
        _settle(part)
        _move_in(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def load(folder: str | Path, device: str | torch.device = "cpu") -> Package:
    """Read a package.

    Args:
        folder: Where it lies.
        device: Where the network shall work.

    Returns:
        Network and card, ready to predict.

    Raises:
        PackageError: If a file is missing or damaged, the package is newer than this version, or
            it names something that is not allowed; nothing from it has run then.
    """
    folder = Path(folder)
    card, files = _manifest(folder)
    contents = {name: _verified(folder / name, sha256) for name, sha256 in files.items()}
    try:
        state = safetensors.torch.load(contents[_WEIGHTS])
    except safetensors.SafetensorError as error:
        raise PackageError(f"{folder / _WEIGHTS} is not a safetensors file: {error}") from error
    network = _empty_network(card)
    _match(state, network, f"{folder / _WEIGHTS} does not fit {folder / _MANIFEST}")
    network.load_state_dict(state, assign=True)
    # convolutions on a CPU are about a fifth faster with the channels innermost
    network = network.eval().to(device).to(memory_format=torch.channels_last)
    return Package(network, card)


def _manifest(folder: Path) -> tuple[Card, dict[str, str]]:
    """Card and checksums, after every check that needs no other file."""
    path = folder / _MANIFEST
    if not path.is_file():
        raise PackageError(f"{folder} is not a model package: it has no {_MANIFEST}")
    if path.stat().st_size > _MAX_MANIFEST_BYTES:
        raise PackageError(f"{path} is larger than {_MAX_MANIFEST_BYTES:,} bytes: not a manifest")
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{path} is damaged, copy the package again: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
        raise PackageError(
            f"{path} is not the manifest of a model package: it has no schema version"
        )
    if data["schema"] > SCHEMA:
        raise PackageError(
            f"{path} has schema {data['schema']}, this gv-models reads up to {SCHEMA}: "
            "uv lock --upgrade-package gv-models"
        )
    if set(data) != {"schema", "files", "card"} or data["schema"] < 1:
        raise PackageError(f"{path}: unknown or missing fields, it holds {', '.join(sorted(data))}")
    files = data["files"]
    if not isinstance(files, dict) or set(files) != set(_FILES):
        raise PackageError(f"{path} must list exactly {', '.join(_FILES)}, got {files!r:.80}")
    try:
        return Card.from_json(data["card"]), files
    except PackageError as error:
        raise PackageError(f"{path}: {error}") from error


def _verified(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path} cannot be read, copy the package again: {error}") from error
    if _sha256(content) != sha256:
        raise PackageError(f"{path} is not the file that was saved: copy the package again")
    return content


def _empty_network(card: Card) -> Segmenter:
    """The network a card describes, without memory for its weights."""
    heads = {head: len(classes) for head, classes in card.heads.items()}
    with torch.device("meta"):
        match card.constructor:
            case "unet":
                return unet(**card.arguments, bands=len(card.bands), heads=heads)


def _match(state: dict[str, Tensor], network: Segmenter, problem: str) -> None:
    wanted = {name: (tuple(t.shape), t.dtype) for name, t in network.state_dict().items()}
    given = {name: (tuple(t.shape), t.dtype) for name, t in state.items()}
    odd = sorted(name for name in wanted | given if wanted.get(name) != given.get(name))
    if odd:
        name = odd[0]
        raise PackageError(
            f"{problem}: {len(odd)} tensors differ, first {name}: "
            f"{given.get(name, 'missing')}, expected {wanted.get(name, 'nothing')}"
        )


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _settle(part: Path) -> None:
    """Make all files readable as usual and force them to the disk."""
    mask = os.umask(0)
    os.umask(mask)
    for file in part.iterdir():
        file.chmod(0o666 & ~mask)  # safetensors leaves 0600, which others could not read
        _flush(file)
    _flush(part)


def _move_in(part: Path, folder: Path) -> None:
    """Rename; an old package steps aside first and comes back if that fails."""
    aside = part.with_suffix(".old")
    if folder.exists():
        os.replace(folder, aside)  # noqa: PTH105  the call that tests make fail
    try:
        os.replace(part, folder)  # noqa: PTH105
    except BaseException:
        if aside.exists():
            aside.rename(folder)
        raise
    try:
        _flush(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left beside a package that is now whole."""
    left_over = re.compile(rf"\.{re.escape(folder.name)}\.(\d+)\.[0-9a-f]{{8}}\.(part|old)")
    for path in folder.parent.iterdir():
        if owner := left_over.fullmatch(path.name):
            try:
                os.kill(int(owner[1]), 0)
            except ProcessLookupError:
                shutil.rmtree(path, ignore_errors=True)
            except (PermissionError, OverflowError):
                pass  # somebody else's, and alive; or no process number at all


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
