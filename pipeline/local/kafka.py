"""A real Apache Kafka, one KRaft node, run from its Maven artefacts: needs Java 17 and, the first time, Maven.

Brokers and clients use listeners of their own: what the broker says to itself (transaction markers) never goes through
a proxy that clients are sent through by `advertised_port`.
"""

from __future__ import annotations

import fcntl
import functools
import os
import re
import shutil
import socket
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.errors import Misconfigured, Unavailable
from pipeline.local.process import LocalProcess, cache_directory, free_port

VERSION = "4.1.1"
"""Version of Apache Kafka."""
_JAVA = 17
_DEPENDENCIES = (("org.apache.kafka", "kafka_2.13", VERSION), ("org.slf4j", "slf4j-simple", "1.7.36"))
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>{}</dependencies>
</project>
"""
_DEFAULTS: Mapping[str, str | int] = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "BROKER",
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": 4,
    "offsets.topic.replication.factor": 1,
    "offsets.retention.minutes": 5_256_000,  # as docs/architecture.md asks of every broker
    "transaction.state.log.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1_000,  # tests of zombies need not wait out the default of 6 s
    "broker.heartbeat.interval.ms": 500,
    "broker.session.timeout.ms": 3_000,  # a killed broker is let back only after it
    "log.index.size.max.bytes": 1_048_576,  # hundreds of small topics in one run of the tests
}


def available() -> str | None:
    """Why no Kafka can be started here, in a few words; None if one can."""
    return _missing(has_libraries=_libraries().is_dir())


@functools.cache
def _missing(*, has_libraries: bool) -> str | None:
    java = _java()
    if java is None:
        return f"no Java {_JAVA}"
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    if not found or int(found[1]) < _JAVA:
        return f"Java {found[1] if found else '?'} is older than {_JAVA}"
    if not has_libraries and shutil.which("mvn") is None:
        return "no Maven"
    return None


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")


def _libraries() -> Path:
    return cache_directory() / f"kafka-{VERSION}"


def fetch_libraries() -> Path:
    """The directory with Kafka's jars, downloaded by Maven (43 MB) if this is the first time.

    Raises:
        Unavailable: the download failed.
    """
    libraries = _libraries()
    if libraries.is_dir():
        return libraries
    libraries.parent.mkdir(parents=True, exist_ok=True)
    with (libraries.parent / f"{libraries.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several runs may begin at once; the second finds the first one's work
        if not libraries.is_dir():
            _download(libraries)
    return libraries


def _download(libraries: Path) -> None:
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        for group, artifact, version in _DEPENDENCIES
    )
    with tempfile.TemporaryDirectory(dir=libraries.parent) as scratch:
        pom, jars = Path(scratch, "pom.xml"), Path(scratch, "lib")
        pom.write_text(_POM.format(dependencies))
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
        done = subprocess.run(
            [shutil.which("mvn") or "mvn", "-q", "-B", "-f", str(pom), *goal],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"Maven could not fetch Kafka {VERSION}: {done.stdout[-2000:].strip()}")
        jars.rename(libraries)  # whole or not at all


class LocalKafka:
    """One Kafka node, its log and its ports kept over stops and kills.

    `bootstrap` is what clients connect to first, host:port; `advertised_port` is where they are sent on to, read at each
    start.
    """

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        overrides: Mapping[str, str | int] | None = None,
        *,
        advertised_port: int | None = None,
        heap_mb: int = 768,
    ) -> None:
        """Nothing is started yet.

        Args:
            directory: where configuration, log directories and the server's output lie; made if missing.
            port: port of the clients' listener; none: a free one.
            overrides: properties of the broker, over the defaults here.
            advertised_port: port that clients are told to use, that of a proxy say; none: `port`.
            heap_mb: Java heap in MiB.
        """
        self.directory = directory
        self.port = port or free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._broker_port, self._controller_port = free_port(), free_port()
        self.advertised_port = advertised_port or self.port
        self._overrides = dict(overrides or {})
        self._heap_mb = heap_mb
        directory.mkdir(parents=True, exist_ok=True)
        self._process = LocalProcess("Kafka", directory / "kafka.log")

    @property
    def pid(self) -> int:
        """Process id of the broker; Unavailable if it does not run."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the broker's process is there."""
        return self._process.running

    def start(self, timeout_s: float = 60.0) -> None:
        """Format the log if it is new, start the broker on it and wait until it answers.

        Raises:
            Misconfigured: no Java or no Maven, or it runs already.
            Unavailable: it was not ready within `timeout_s` seconds.
        """
        if reason := available():
            raise Misconfigured(f"no Kafka can be started: {reason}")
        jars = fetch_libraries()
        configuration = self._write_configuration()
        if not (self.directory / "log" / "meta.properties").exists():
            self._format(jars, configuration)
        command = [*self._jvm(jars, self._heap_mb), "kafka.Kafka", str(configuration)]
        self._process.start(command, self._answers, timeout_s=timeout_s)

    def stop(self) -> None:
        """End it cleanly (SIGTERM)."""
        self._process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze it (SIGSTOP)."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._process.resume()

    def _write_configuration(self) -> Path:
        properties = {
            **_DEFAULTS,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "listeners": f"CLIENT://{self.bootstrap},BROKER://127.0.0.1:{self._broker_port},"
            f"CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{self.advertised_port},BROKER://127.0.0.1:{self._broker_port}",
            "log.dirs": str(self.directory / "log"),
            **self._overrides,
        }
        path = self.directory / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        return path

    def _format(self, jars: Path, configuration: Path) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*self._jvm(jars, 128), "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]
        done = subprocess.run(
            [*command, f"--cluster-id={cluster}", "--config", str(configuration)],  # an id may begin with "-"
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"Kafka's log could not be formatted: {(done.stderr + done.stdout)[-2000:].strip()}")

    @staticmethod
    def _jvm(jars: Path, heap_mb: int) -> list[str]:
        logging = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
        return [_java() or "java", f"-Xmx{heap_mb}m", "-Djava.awt.headless=true", *logging, "-cp", f"{jars}/*"]

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._broker_port), timeout=1.0).close()
            client = AdminClient({"bootstrap.servers": f"127.0.0.1:{self._broker_port}", "log_level": 0})
            return bool(client.list_topics(timeout=2.0).brokers)
        except (OSError, KafkaException):
            return False
