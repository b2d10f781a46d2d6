"""Can a header be written again? Which element prevents it?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from io import BytesIO

from pydicom import dcmwrite
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from ct_keras.dicom.values import quiet_pydicom
from ct_keras.errors import CtKerasError


@contextlib.contextmanager
def header_errors(header: Dataset, file_number: int) -> Iterator[None]:
    """Turns a failed change or writing of a header into CTK-E007 with the element."""
    try:
        with quiet_pydicom():
            yield
    except CtKerasError:
        raise
    except Exception as error:  # pydicom raises many types for odd header values
        if isinstance(error, OSError) and error.errno:
            raise  # the disk, not the header
        raise CtKerasError(
            "CTK-E007",
            f"file #{file_number}: the header cannot be rewritten",
            received=unwritable_element(header),
            fix="correct or remove this element in the source",
        ) from error


def write_header(header: Dataset, file: object) -> None:
    """Writes a header as Explicit VR Little Endian.

    Args:
        header: With its file meta, without pixels.
        file: A new path, or a stream.
    """
    dcmwrite(  # Dataset.save_as refuses sources of the other byte order
        file,
        header,
        implicit_vr=False,
        little_endian=True,
        enforce_file_format=True,
        overwrite=False,
    )


def unwritable_element(header: Dataset) -> str | None:
    """Returns the keyword or tag of an element that cannot be written, if any."""
    with quiet_pydicom():
        for tag in list(header.keys()):
            part = Dataset()
            try:
                part[tag] = header[tag]
                dcmwrite(BytesIO(), part, implicit_vr=False, little_endian=True)
            except Exception:  # as above
                return keyword_for_tag(tag) or str(tag)
    return None
