"""Unique identifiers that depend on content, never on the clock.

The same pixels made in the same way give the same UIDs, so sending a result twice is
harmless; other pixels give other UIDs, because two pixel sets under one UID corrupt an
archive.
"""

from __future__ import annotations

import uuid

#: Namespace of every UID of this package, drawn once at random.
_NAMESPACE = uuid.UUID("6f4dcb5e-0c0a-4f0e-9d0e-5b9c2a7e1d34")
_SEPARATOR = "\x1f"


def content_uid(kind: str, *parts: str) -> str:
    """Returns a UID under 2.25 for what the parts describe.

    Args:
        kind: What is identified, such as ``series`` or ``instance``.
        *parts: Everything that makes it this one.

    Returns:
        At most 44 characters.

    Reference:
        DICOM PS3.5, B.2: UUID derived UID.
    """
    name = _SEPARATOR.join([kind, *parts])
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


IMPLEMENTATION_CLASS_UID = content_uid("implementation", "ct_keras")
