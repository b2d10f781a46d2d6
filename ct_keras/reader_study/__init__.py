"""Blinded reader studies: readers score hidden methods side by side."""

from ct_keras.reader_study.answers import Ratings, read_answers, read_key, unblind
from ct_keras.reader_study.criteria import (
    CRITERIA,
    NORMAL_DOSE,
    USUAL_CRITERIA,
    Criterion,
)
from ct_keras.reader_study.design import Showing, randomize
from ct_keras.reader_study.results import result_tables, write_results
from ct_keras.reader_study.scoring import score_study
from ct_keras.reader_study.study import (
    design_remarks,
    make_study,
    public_summary,
    read_slices,
)

__all__ = [
    "CRITERIA",
    "Criterion",
    "NORMAL_DOSE",
    "Ratings",
    "Showing",
    "USUAL_CRITERIA",
    "design_remarks",
    "make_study",
    "public_summary",
    "randomize",
    "read_answers",
    "read_key",
    "read_slices",
    "result_tables",
    "score_study",
    "unblind",
    "write_results",
]
