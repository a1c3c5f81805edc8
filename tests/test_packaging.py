"""The built wheel holds the package and nothing else."""

import subprocess
import sys
import zipfile

import pytest


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_table_and_no_more(repository, tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=repository, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    package = repository / "hvt_bench"
    modules = {str(path.relative_to(repository)) for path in package.rglob("*.py")}
    tables = {str(path.relative_to(repository)) for path in (package / "published").glob("*.csv")}
    pages = {str(path.relative_to(repository)) for path in (package / "report" / "templates").iterdir()}
    assert pages
    packaged = {name for name in names if ".dist-info/" not in name}
    assert packaged == modules | tables | pages | {"hvt_bench/py.typed"}
    assert {name.partition(".dist-info/")[2] for name in names if ".dist-info/" in name} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }
