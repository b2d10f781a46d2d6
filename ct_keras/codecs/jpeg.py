"""JPEG images of 12 bits, which GDCM decodes and pydicom does not let it decode.

GDCM holds the decoder of the Independent JPEG Group for 12 bits, as DCMTK does; the
result is the same, bit for bit.

References:
    ITU-T T.81 (JPEG), processes 4, 8 and 12; DICOM PS3.5, 10.1 (the last two retired).
"""

from __future__ import annotations

from pydicom import uid

from ct_keras.codecs import gdcm_first  # noqa: F401 - before GDCM

#: Extended sequential, spectral selection and full progression.
TWELVE_BIT_JPEG = (
    uid.JPEGExtended12Bit,
    uid.UID("1.2.840.10008.1.2.4.53"),
    uid.UID("1.2.840.10008.1.2.4.55"),
)


def decode_jpeg(data: bytes, options: dict) -> bytes:
    """Decodes one frame by GDCM.

    Args:
        data: The JPEG image.
        options: rows, columns, bits_stored and pixel_representation.

    Returns:
        The pixels, 16 bits each.
    """
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((options["columns"], options["rows"], 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    syntax = gdcm.TransferSyntax.JPEGExtendedProcess2_4
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    bits, sign = options["bits_stored"], options["pixel_representation"]
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, bits, bits - 1, sign))
    # The wrapper returns bytes as text.
    return image.GetBuffer().encode("utf-8", "surrogateescape")
