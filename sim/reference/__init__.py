"""Float reference models: the accuracy and the memory that the integer form is measured against.

`Standard` trains a binary network in the usual way (Courbariaux & Bengio, arXiv 1602.02830), `Method` in the low-memory
way of Wang et al. (arXiv 2102.04270), both in floating point; `Ablation` what lies between. `train` runs any of them on a
data set, in any of the array libraries of `bnnedge.sim.arrays`; `footprint` counts the bytes that each needs.
"""

from bnnedge.sim.reference.ablation import STEPS, Ablation
from bnnedge.sim.reference.course import Course, History
from bnnedge.sim.reference.memory import footprint
from bnnedge.sim.reference.method import Method
from bnnedge.sim.reference.network import Network
from bnnedge.sim.reference.standard import Standard
from bnnedge.sim.reference.training import fit, scale_pixels, train

__all__ = ["STEPS", "Ablation", "Course", "History", "Method", "Network", "Standard", "fit", "footprint", "scale_pixels", "train"]
