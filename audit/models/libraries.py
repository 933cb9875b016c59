"""Networks that torchvision, timm and transformers build by name; nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from audit.errors import AuditError
from audit.extras import check_extra

Builder = Callable[[tuple[int, ...], int], nn.Module]


def library_builder(name: str) -> Builder | None:
    """What builds `torchvision:NAME`, `timm:NAME` or `hf:FOLDER`; None for any other name.

    Called as a function of your own, with the shape of an input and the number of classes; the
    weights are random, and nothing is downloaded. Raises AuditError where the library is missing.

    >>> library_builder("my_package.models:build") is None
    True
    """
    library, _, wanted = name.partition(":")
    if library.partition(".")[0] in ("torchvision", "timm") and "." in library:
        # Their own functions take weights first, and fetch them.
        raise AuditError(
            f"'{name}' would take the shape of an input for weights to download; expected "
            f"{library.partition('.')[0]}:{wanted}, which builds it without any"
        )
    builders = {"torchvision": _torchvision, "timm": _timm, "hf": _transformers}
    return builders[library](wanted) if library in builders else None


def _torchvision(name: str) -> Builder:
    check_extra("torchvision", f"torchvision:{name}")
    from torchvision import models

    def build(_: tuple[int, ...], classes: int) -> nn.Module:
        # Those of detection and segmentation, in modules below, fetch the weights of a part.
        if name not in models.list_models(module=models):
            raise AuditError(
                f"torchvision has no classifier '{name}'; expected such as torchvision:resnet18"
            )
        network: nn.Module = models.get_model(name, weights=None, num_classes=classes)
        return network

    return build


def _timm(name: str) -> Builder:
    check_extra("timm", f"timm:{name}")
    import timm

    def build(shape: tuple[int, ...], classes: int) -> nn.Module:
        if not timm.is_model(name):
            raise AuditError(f"timm has no network '{name}'; expected such as timm:resnet18")
        network: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=classes, in_chans=shape[0]
        )
        return network

    return build


def _transformers(folder: str) -> Builder:
    """The classifier that a local folder's config.json describes."""
    check_extra("transformers", f"hf:{folder}")
    import transformers

    def build(_: tuple[int, ...], classes: int) -> nn.Module:
        if not (Path(folder) / "config.json").is_file():
            raise AuditError(
                f"there is no '{folder}/config.json'; expected a folder that save_pretrained wrote"
            )
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        name = (getattr(config, "architectures", None) or [""])[0]
        if not name.endswith("Classification") or not hasattr(transformers, name):
            raise AuditError(
                f"'{folder}' holds '{name or 'no network'}'; expected a classifier of transformers"
            )
        if config.num_labels != classes:
            raise AuditError(
                f"the network in '{folder}' tells {config.num_labels} classes apart; the data has "
                f"{classes}"
            )
        network: nn.Module = getattr(transformers, name)(config)
        return network

    return build
