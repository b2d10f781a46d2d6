"""The real patients that tests run on, by name: more data changes no test."""

#: Two makers, with and without padding, its tag and the tag of the kernel; one to
#: sixty slices. The published weights were trained, validated and tested on them.
PATIENTS = (
    "train/LIDC-IDRI-0314",
    "train/R01-001",
    "train/CRLM-CT-1004",
    "val/SBU-A048383",
    "val/SBU-A072894",
    "test/CRLM-CT-1006",
)
