"""Data sets: `load` one by name or from a file, or build a `Dataset` from arrays.

digits.npz, which ships with the package: Optical Recognition of Handwritten Digits by E. Alpaydin and C. Kaynak, UCI
Machine Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0; pixels scaled, images reordered.
"""

from bnnedge.data.arrays import DataError, DataWarning
from bnnedge.data.augment import Augment
from bnnedge.data.dataset import Dataset
from bnnedge.data.sources import load

__all__ = ["Augment", "DataError", "DataWarning", "Dataset", "load"]
