"""`ct-keras models`: the zoo."""

from __future__ import annotations

import functools

import click

from ct_keras.cli.output import echo_table, emit_json, say
from ct_keras.cli.paths import command as safe_command
from ct_keras.notice import NOTICE


@safe_command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(as_json) -> None:
    """Lists the networks, what they cost, and the published weights."""
    rows = _networks()
    published = _published()
    if as_json:
        emit_json({"networks": rows, "published": published})
        return
    echo_table(
        "Networks",
        ["name", "parameters", "receptive field", "GMAC/slice", "recipes", "paper"],
        [
            [
                row["name"],
                f"{row['parameters']:,}",
                f"{row['receptive_field']} px" if row["receptive_field"] else "whole",
                f"{row['gmac_per_slice']:.1f}",
                ", ".join(row["recipes"]),
                row["paper"],
            ]
            for row in rows
        ],
    )
    echo_table(
        "Published weights",
        ["name", "version", "parameters", "licence", "reached"],
        [
            [
                card["name"],
                card["version"],
                f"{card['parameters']:,}",
                card["licence"],
                card["reached"],
            ]
            for card in published
        ],
    )
    say(f"GMAC for one 512x512 slice; in 3-D for a volume of 64x64x64. {NOTICE}")


@functools.cache
def _networks() -> list[dict]:
    from ct_keras.models import (
        build,
        count_macs,
        get_spec,
        list_models,
        size_rule_of,
    )

    rows = []
    for name in list_models():
        spec, network = get_spec(name), build(name)
        size_rule = size_rule_of(network)
        rows.append(
            {
                "name": name,
                "title": spec.title,
                "paper": spec.paper,
                "file": spec.file,
                "dimensions": spec.dimensions,
                "parameters": network.count_params(),
                "receptive_field": spec.receptive_field,
                "minimum_size": size_rule.minimum,
                "size_multiple": size_rule.multiple,
                "gmac_per_slice": count_macs(network) / 1e9,
                "recipes": [recipe.name for recipe in spec.recipes],
            }
        )
    return rows


def _published() -> list[dict]:
    from ct_keras.denoising import list_published, read_card

    cards = [read_card(name) for name in list_published()]
    keys = ("name", "version", "parameters", "licence", "reached")
    return [{key: card[key] for key in keys} for card in cards]
