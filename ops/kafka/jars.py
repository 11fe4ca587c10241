"""Fetch the jars of an Apache Kafka server with Maven, once, into a folder of the repository's cache.

The folder appears under its name only when it is whole: Maven copies into a neighbour, which is then renamed.
Two processes may fetch at the same time: the later one throws its copy away.
"""

import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from schemas.errors import KafkaUnavailableError

KAFKA_VERSION = "4.3.1"
CACHE = Path(__file__).parents[2] / ".cache"
_POM = Path(__file__).with_name("pom.xml")
_JAVA_AT_LEAST = 17
_FETCH_S = 600


@functools.cache
def java() -> str:
    """Find a Java that can run the server; raises KafkaUnavailableError where there is none."""
    found = shutil.which("java")
    if found is None:
        raise KafkaUnavailableError("no 'java' on the PATH: install Java 17 or newer to run Apache Kafka")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    if version is None or int(version[1]) < _JAVA_AT_LEAST:
        first = (said.stderr or said.stdout).strip().partition("\n")[0]
        raise KafkaUnavailableError(f"{found!r} says {first!r}: install Java 17 or newer to run Apache Kafka")
    return found


def jars(cache: Path = CACHE) -> Path:
    """Find the folder with the server's jars under `cache`, or fetch them into it.

    Raises KafkaUnavailableError where Java is missing, or where Maven is and the jars are not there either.
    """
    java()
    folder = cache / f"kafka-{KAFKA_VERSION}"
    if not folder.is_dir():
        _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailableError("no 'mvn' on the PATH: install Maven, which fetches the jars of Apache Kafka")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as partial:
        copied = Path(partial) / "jars"
        _copy_dependencies(maven, copied)
        try:
            copied.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise


def _copy_dependencies(maven: str, into: Path) -> None:
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={into}"]
    command = [maven, "--quiet", "--batch-mode", "--file", str(_POM), *goal]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FETCH_S)
    except subprocess.TimeoutExpired as error:
        raise KafkaUnavailableError(f"Maven did not fetch Kafka's jars within {_FETCH_S} s; try again") from error
    if done.returncode != 0 or not any(into.glob("kafka-server-*.jar")):
        said = (done.stdout + done.stderr).strip()[-1000:]
        raise KafkaUnavailableError(f"Maven could not fetch Kafka's jars; see that its repository answers: {said!r}")
