"""Find the sub-packages of the folders that pyproject.toml maps to packages; all else stands in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

project = tomllib.loads((Path(__file__).parent / "pyproject.toml").read_text(encoding="utf-8"))
folders = project["tool"]["setuptools"]["package-dir"]

setup(
    packages=[
        name for package, folder in folders.items() for name in (package, *(f"{package}.{sub}" for sub in find_packages(folder)))
    ]
)
