"""The report page: tables, plots and an image browser; figures as files."""

from ct_keras.report.report import render_report
from ct_keras.report.tables import summary_rows
from ct_keras.report.writer import write_figures, write_report

__all__ = ["render_report", "summary_rows", "write_figures", "write_report"]
