"""Guards: is this a scan that the model knows, and what did the model take away?"""

from ct_keras.serving.guards.after import Audit, AuditResult
from ct_keras.serving.guards.before import check_series
from ct_keras.serving.guards.quality_control import write_quality_control

__all__ = ["Audit", "AuditResult", "check_series", "write_quality_control"]
