"""Studies: grids of training runs, spread over processes or machines, and the tables that come of them.

A study is a YAML file (`grids` has those of the documents). Each of its runs leaves one row in a table as it ends, so that
a study that was stopped goes on where it was; `report` makes the document of the rows.
"""

from bnnedge.sim.study.grid import STUDIES, Run, Study, load_study
from bnnedge.sim.study.table import Table

__all__ = ["STUDIES", "Run", "Study", "Table", "load_study"]
