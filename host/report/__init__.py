"""What a training run leaves behind: report.json and the learning curve."""

from bnnedge.report.curve import save_curve
from bnnedge.report.summary import Reference, summary, write_json

__all__ = ["Reference", "save_curve", "summary", "write_json"]
