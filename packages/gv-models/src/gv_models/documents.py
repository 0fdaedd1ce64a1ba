"""What a package says of itself to people (README.md) and to catalogues (a STAC item).

The item follows STAC 1.1 (https://github.com/radiantearth/stac-spec) with the extension Machine
Learning Model 1.4.0 (https://github.com/stac-extensions/mlm).
"""

import re

from gv_models.card import REFUSE_RATIO, Card

_MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
_CLASSIFICATION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
_EO = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"


def readme(card: Card, name: str) -> str:
    """The model card in Markdown.

    Args:
        card: What to describe.
        name: Name of the package.

    Returns:
        The text of README.md.
    """
    low, high = card.gsd_m / REFUSE_RATIO, card.gsd_m * REFUSE_RATIO
    lines = [
        f"# {name}",
        "",
        f"Gives a probability per pixel for {_join(card)}, from images of {card.gsd_m:g} m GSD "
        f"(accepted: {low:.3g} to {high:.3g} m).",
        "",
        "| band | wavelength (nm) | mean | std | 1 % | 99 % |",
        "|---|---|---|---|---|---|",
        *(
            f"| {b.name} | {'' if b.wavelength_nm is None else f'{b.wavelength_nm:g}'} "
            f"| {b.mean:.4g} | {b.std:.4g} | {b.p01:.4g} | {b.p99:.4g} |"
            for b in card.bands
        ),
        "",
        "Values outside the percentiles by far mean that the image is scaled differently.",
        "",
        f"- Network: {card.constructor}, encoder {card.arguments['encoder']}, "
        f"trained before on {card.pretrained or 'nothing'}",
        f"- Windows: {card.window_px} px with {card.overlap_px} px overlap",
        f"- An object from a probability of {card.threshold:g}",
        f"- Licence of the weights: {card.licence}",
        f"- Run: {card.run or 'not recorded'}, commit {card.commit or 'not recorded'}, "
        f"{card.created}",
        f"- Versions: {', '.join(f'{k} {v}' for k, v in card.versions.items())}",
    ]
    if card.metrics:
        lines += ["", "| validation | |", "|---|---|"]
        lines += [
            f"| {name} | {'undefined' if value is None else f'{value:.4g}'} |"
            for name, value in card.metrics.items()
        ]
    lines += [
        "",
        "```python",
        "from gv_models import package",
        "",
        f'probabilities = package.load("{name}").predict(image)  # (b, c, h, w), physical units',
        "```",
        "",
    ]
    return "\n".join(lines)


def stac_item(card: Card, name: str, parameters: int) -> dict[str, object]:
    """The package as a STAC item, with addresses relative to its folder.

    Args:
        card: What to describe.
        name: Name of the package.
        parameters: Number of weights.

    Returns:
        JSON values. Without a bounding box the geometry is null.
    """
    shape = {"dim_order": ["batch", "channel", "height", "width"], "data_type": "float32"}
    bands = [
        {"name": b.name}
        | ({} if b.wavelength_nm is None else {"eo:center_wavelength": b.wavelength_nm / 1000})
        for b in card.bands
    ]
    properties = {
        "datetime": card.created,
        "description": f"Probability per pixel for {_join(card)}",
        "license": card.licence,
        "gsd": card.gsd_m,
        "mlm:name": re.sub(r"[^a-zA-Z0-9_.-]+", "-", f"gv-{name}").rstrip("-._"),
        "mlm:architecture": "U-Net",
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:framework": "PyTorch",
        "mlm:framework_version": card.versions.get("torch", "0.0.0"),
        "mlm:total_parameters": parameters,
        "mlm:pretrained": card.pretrained is not None,
        "mlm:pretrained_source": card.pretrained,
        "mlm:input": [
            {
                "name": "image",
                "bands": [b.name for b in card.bands],
                "input": {"shape": [-1, len(card.bands), -1, -1]} | shape,
                "value_scaling": [
                    {"type": "z-score", "mean": b.mean, "stddev": b.std} for b in card.bands
                ],
                "resize_type": None,
            }
        ],
        "mlm:output": [
            {
                "name": head,
                "tasks": ["semantic-segmentation"],
                "result": {"shape": [-1, len(classes), -1, -1]} | shape,
                "classification:classes": [
                    {"value": value, "name": re.sub(r"[^0-9A-Za-z_-]+", "_", label), "title": label}
                    for value, label in enumerate(classes)
                ],
            }
            for head, classes in card.heads.items()
        ],
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [_MLM, _CLASSIFICATION]
        + ([_EO] if any(b.wavelength_nm is not None for b in card.bands) else []),
        "id": name,
        **_ground(card),
        "properties": properties,
        "links": [],
        "assets": {
            "weights": {
                "href": "./weights.safetensors",
                "type": "application/octet-stream; application=safetensors",
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": "safetensors.torch.save_file",
                "bands": bands,
            },
            "card": {"href": "./model.json", "type": "application/json", "roles": ["metadata"]},
            "readme": {"href": "./README.md", "type": "text/markdown", "roles": ["metadata"]},
        },
    }


def _ground(card: Card) -> dict[str, object]:
    if card.bbox is None:
        return {"geometry": None}
    west, south, east, north = card.bbox
    # a box across the antimeridian is cut there (RFC 7946, section 3.1.9)
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    rings = [[[w, south], [e, south], [e, north], [w, north], [w, south]] for w, e in spans]
    geometry = (
        {"type": "Polygon", "coordinates": rings}
        if len(rings) == 1
        else {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}
    )
    return {"geometry": geometry, "bbox": list(card.bbox)}


def _join(card: Card) -> str:
    return ", ".join(f"{name} ({head})" for head, names in card.heads.items() for name in names)
