"""Guards: whether a scan matches the training data, and what a model removed."""

from ct_keras.serving.guards.after import Audit, AuditResult
from ct_keras.serving.guards.before import check_series
from ct_keras.serving.guards.quality_control import write_quality_control

__all__ = ["Audit", "AuditResult", "check_series", "write_quality_control"]
