"""Calls the peer: C-STORE, and C-FIND where it is not known what it has."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

from ct_keras.dicom.checks import CT_CLASSES
from ct_keras.node.settings import NodeSettings

_TIMEOUT_SECONDS = 60
#: Some peers do not answer questions of those that they do not know.
_QUESTION_SECONDS = 10
#: Answers after which the peer has the instance: success, "already there", and the
#: warnings (values coerced, elements discarded, odd for its class).
_TAKEN = frozenset({0x0000, 0x0111, 0xB000, 0xB006, 0xB007})
_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


class BrokenOffError(Exception):
    """No answer came: whether the peer has the instance is not known."""


class Caller:
    """Calls one peer.

    Args:
        settings: Where it is, and how it is called.
    """

    def __init__(self, settings: NodeSettings):
        self._settings = settings
        self._answers_questions = True

    def associate(self) -> Association | None:
        """Returns an association for C-STORE, None if the peer cannot be reached."""
        return self._associate(_TIMEOUT_SECONDS)

    def has(self, dataset: Dataset) -> bool | None:
        """Whether the peer says that it has an instance.

        A peer that did not answer is not asked again.

        Returns:
            False if it does not say; None if it cannot be reached.
        """
        if not self._answers_questions:
            return False
        association = self._associate(_QUESTION_SECONDS, FIND)
        if association is None:
            return None
        try:
            answers = list(association.send_c_find(_question(dataset), FIND))
        except (ValueError, RuntimeError):  # it does not know such questions
            answers = []
        finally:
            if association.is_established:
                association.release()
        last = answers[-1][0] if answers else Dataset()
        self._answers_questions = last.get("Status") == 0x0000
        found = [each.get("SOPInstanceUID") for _, each in answers if each is not None]
        return dataset.SOPInstanceUID in found

    def _associate(self, seconds: float, *more: str) -> Association | None:
        entity = AE(ae_title=self._settings.aet)
        for sop_class in sorted(CT_CLASSES):
            entity.add_requested_context(sop_class, _SYNTAXES)
        for service in more:
            entity.add_requested_context(service)
        entity.acse_timeout = entity.dimse_timeout = seconds
        entity.network_timeout = entity.connection_timeout = seconds
        settings, peer = self._settings, self._settings.forward
        encryption = settings.encryption if settings.encrypt_forward else None
        association = entity.associate(
            peer.host,
            peer.port,
            ae_title=peer.aet,
            tls_args=(encryption.client(), peer.host) if encryption else None,
        )
        return association if association.is_established else None


def store(association: Association, dataset: Dataset) -> str | None:
    """Sends one instance; returns why the peer has not taken it.

    Raises:
        BrokenOffError: If no answer came.
    """
    try:
        answer = association.send_c_store(dataset)
    except (ValueError, RuntimeError, AttributeError) as error:
        return f"an instance could not be sent: {type(error).__name__}"
    status = answer.get("Status")
    if status is None:
        raise BrokenOffError
    if status not in _TAKEN:
        return f"the peer refused an instance with status {status:#06x}"
    return None


def _question(dataset: Dataset) -> Dataset:
    wanted = Dataset()
    wanted.QueryRetrieveLevel = "IMAGE"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(wanted, keyword, dataset[keyword].value)
    return wanted
