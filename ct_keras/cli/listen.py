"""`ct-keras listen`: a DICOM node that denoises what it receives."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ct_keras.cli.options import Amount
from ct_keras.cli.options import reading as reading_options
from ct_keras.cli.options import trust as trust_option
from ct_keras.cli.output import emit_json, say
from ct_keras.cli.paths import InputPath, ModelText, OutputFolder
from ct_keras.cli.paths import command as safe_command
from ct_keras.cli.process import Stopped
from ct_keras.errors import CtKerasError, ExitCode
from ct_keras.notice import NOTICE

_MIB, _GIB = 2**20, 2**30


@safe_command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=11112,
    show_default=True,
    help="Port to listen on; 0 for any free one.",
)
@click.option(
    "--host",
    help="Address to listen on.  [default: 127.0.0.1; all with --allow-address]",
)
@click.option(
    "--aet", default="CTKERAS", show_default=True, help="AE title of this node."
)
@click.option(
    "--model",
    type=ModelText(),
    help="As for denoise.  [default: the default model]",
)
@click.option(
    "--strength",
    type=float,
    help="From 0 (input) to 1 (output of the model).  [default: that of the model]",
)
@trust_option
@click.option("--forward", metavar="AET@HOST:PORT", help="Where results are sent.")
@click.option(
    "--spool",
    type=OutputFolder("node spool", resumable=True),
    help="Folder for what is under way; a restart goes on with it.  "
    "[default: ~/.local/state/ct_keras/listen-PORT]",
)
@click.option(
    "--allow-aet",
    "allowed_aets",
    multiple=True,
    metavar="AET",
    help="AE title that may send; repeat for more.  [default: all]",
)
@click.option(
    "--allow-address",
    "allowed_addresses",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network that may send; repeat for more.  [default: this machine]",
)
@click.option(
    "--quiet-seconds",
    type=Amount(0, 86400),
    default=60.0,
    show_default=True,
    help="A series is complete when nothing came for so long; 2 s are enough once its "
    "sender has closed the association.",
)
@click.option(
    "--max-instance-mb",
    type=Amount(0.1, 4096),
    default=512.0,
    show_default=True,
    help="Largest instance in MiB.",
)
@click.option(
    "--max-spool-gb",
    type=Amount(0.001, 2**20),
    default=50.0,
    show_default=True,
    help="Largest spool in GiB; beyond it, and when the disk has less than 1 GiB free, "
    "senders are told to try again later.",
)
@click.option(
    "--max-associations",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="Senders at the same time.",
)
@click.option(
    "--max-rate",
    type=Amount(0.01, 1e6),
    default=200.0,
    show_default=True,
    help="Instances per second of one address; faster ones are answered later.",
)
@click.option("--tls-certificate", type=InputPath(), help="Receive by TLS: own PEM.")
@click.option("--tls-key", type=InputPath(), help="Its private key, PEM.")
@click.option(
    "--tls-ca",
    type=InputPath(),
    help="Senders must show a certificate of this authority, PEM.",
)
@click.option("--forward-tls", is_flag=True, help="Call the peer by TLS too.")
@click.option(
    "--override-guards", is_flag=True, help="Denoise what the guards refuse; recorded."
)
@reading_options("listen")
@click.option(
    "--status",
    "asked",
    metavar="SPOOL",
    type=InputPath(),
    help="Only print how the node with this spool is; fails if it does not run.",
)
@click.option("--json", "as_json", is_flag=True, help="With --status: print JSON.")
def command(asked, as_json, **options) -> int:
    """Receives CT series by C-STORE, denoises them and sends the results on.

    A series is denoised when its sender has closed the association, or when nothing
    came for --quiet-seconds. What was answered with success is on the disk: after a
    kill, a crash or while the peer cannot be reached, nothing is lost, and nothing that
    the peer has taken is sent again. What the reader or the guards refuse is kept in
    SPOOL/refused with the reason; everything else goes on.

    Without --allow-address only this machine may send. The log holds no patient data.
    Needs pynetdicom: pip install "ct_keras[pacs]".
    """
    if asked is not None:
        return _print_status(asked, as_json)
    from ct_keras.node import require_pynetdicom

    require_pynetdicom()
    settings = _settings(options)
    spool = options["spool"] or _default_spool(settings.port)
    from ct_keras.denoising.methods import get_method
    from ct_keras.node.node import Node
    from ct_keras.node.spool import Spool
    from ct_keras.node.worker import Work

    method = get_method(options["model"], trust=options["trust"])
    work = Work(
        method, options["strength"], options["override_guards"], options["reading"]
    )
    say(NOTICE)
    try:
        with Node(settings, work, Spool(spool)) as node:
            node.watch()
    except Stopped:
        return ExitCode.DONE
    raise CtKerasError("CTK-E106", "a part of the node has ended", fix="start it again")


def _settings(options: dict):
    from ct_keras.node import settings

    if options["forward"] is None:
        raise click.UsageError("--forward AET@HOST:PORT is needed")
    addresses = options["allowed_addresses"] or settings.LOOPBACK
    host = "0.0.0.0" if options["allowed_addresses"] else "127.0.0.1"
    return settings.NodeSettings(
        forward=settings.Peer.parse(options["forward"]),
        host=options["host"] or host,
        port=options["port"],
        aet=settings.check_ae_title(options["aet"]),
        allowed_aets=tuple(map(settings.check_ae_title, options["allowed_aets"])),
        allowed_networks=tuple(map(settings.parse_network, addresses)),
        quiet_seconds=options["quiet_seconds"],
        encryption=_encryption(options),
        encrypt_forward=options["forward_tls"],
        limits=settings.NodeLimits(
            instance_bytes=int(options["max_instance_mb"] * _MIB),
            spool_bytes=int(options["max_spool_gb"] * _GIB),
            associations=options["max_associations"],
            instances_per_second=options["max_rate"],
        ),
    )


def _encryption(options: dict):
    from ct_keras.node.settings import Encryption

    certificate, key = options["tls_certificate"], options["tls_key"]
    wanted = options["tls_ca"] or options["forward_tls"]
    if (certificate is None) != (key is None) or (wanted and certificate is None):
        raise click.UsageError("TLS needs both --tls-certificate and --tls-key")
    if certificate is None:
        return None
    return Encryption(certificate, key, options["tls_ca"])


def _default_spool(port: int) -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    state = Path(base) if base else Path.home() / ".local" / "state"
    return state / "ct_keras" / f"listen-{port}"


def _print_status(spool: Path, as_json: bool) -> int:
    from ct_keras.node import status

    found = status.read(spool / "status.json")
    if as_json:
        emit_json(found)
    else:
        say(status.line(found))
    return ExitCode.DONE
