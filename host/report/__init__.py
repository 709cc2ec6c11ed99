"""What a run shows while it goes on, and what it leaves behind: report.json and the learning curve."""

from bnnedge.report.curve import save_curve
from bnnedge.report.folder import RunFolder
from bnnedge.report.live import LivePlot
from bnnedge.report.progress import Progress
from bnnedge.report.spread import Spread, spread
from bnnedge.report.summary import Reference, summary, write_json

__all__ = ["LivePlot", "Progress", "Reference", "RunFolder", "Spread", "save_curve", "spread", "summary", "write_json"]
