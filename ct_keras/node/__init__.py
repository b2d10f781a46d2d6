"""A DICOM node: CT series come in by C-STORE, denoised series go on by C-STORE.

    sender -> receiver -> spool -> worker -> spool -> forwarder -> peer

Nothing is lost or sent twice when the node is killed at any moment or the peer cannot
be reached: what an instance or series has reached stands in a journal on the disk
before anything else relies on it.

- `settings`: who may send, where results go, and the limits;
- `journal`, `ledger`: what happened, line by line, and the state that follows from it;
- `spool`: the files of the series under way;
- `intake`: which series are being received, and when they are complete;
- `receiver`, `acceptor`: the DICOM services that others call;
- `worker`: denoises complete series;
- `forwarder`: sends results until the peer has taken them;
- `quiet`: keeps what libraries say out of the log;
- `node`, `status`: runs the parts, and says how they are.

The parts that talk DICOM need pynetdicom: ``pip install "ct_keras[pacs]"``.
"""

from __future__ import annotations

import importlib.metadata

from ct_keras.errors import CtKerasError

#: Earlier versions have a known hole (CVE-2026-56445).
_OLDEST = (3, 0, 4)


def require_pynetdicom() -> None:
    """Refuses to go on without the package that talks DICOM.

    Raises:
        CtKerasError: CTK-E093, with the command that installs it.
    """
    try:
        found = importlib.metadata.version("pynetdicom")
    except importlib.metadata.PackageNotFoundError:
        found = None
    parts = (found or "0").split(".")[:3]
    if tuple(int(part) for part in parts if part.isdigit()) < _OLDEST:
        raise CtKerasError(
            "CTK-E093",
            "the DICOM node needs a package that is not installed",
            received=f"pynetdicom {found}" if found else "no module pynetdicom",
            expected=f"pynetdicom {'.'.join(map(str, _OLDEST))} or later",
            fix='pip install "ct_keras[pacs]"',
        )
