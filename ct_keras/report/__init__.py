"""The report page: tables, plots and an image browser."""

from ct_keras.report.report import render_report
from ct_keras.report.tables import summary_rows
from ct_keras.report.writer import write_report

__all__ = ["render_report", "summary_rows", "write_report"]
