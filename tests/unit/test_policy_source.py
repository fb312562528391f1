"""Policy files: read, approved by others, watched for a change."""

from __future__ import annotations

import base64
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from prometheus_client import REGISTRY
from pydantic import ValidationError

from pipeline.errors import BadInput, Misconfigured
from pipeline.policy.api import EmptyPolicy
from pipeline.policy.document import BadPolicy
from pipeline.policy.judge import RulePolicy
from pipeline.policy_source import Refused, Watch, fingerprint, load, sign
from pipeline.settings import Policy

GOOD = "version: 1\nrules:\n  - {id: a, action: alert}\n"
OTHER = "version: 1\nrules:\n  - {id: b, action: alert}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    return path


def keys(folder: Path, name: str) -> tuple[Path, Path, str]:
    """Private key, public key, fingerprint."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public, fingerprint(key.public_key())


def taken(watch: Watch) -> Refused | None:
    """As a worker does: take, and put on record."""
    refused = watch.take()
    if refused is not None:
        watch.told(refused)
    return refused


class TestLoad:
    def test_its_digest_is_that_of_the_file(self, file: Path) -> None:
        from hashlib import sha256

        assert load(file, Policy()).digest == sha256(GOOD.encode()).hexdigest()

    @pytest.mark.parametrize(
        ("content", "says"),
        [(b"version: 2", "policy.yaml:1:10: "), (b"version: 1\n# \xff", "policy.yaml:2:3: not UTF-8"), (b"", ":1:1: ")],
    )
    def test_what_is_wrong_is_named(self, file: Path, content: bytes, says: str) -> None:
        file.write_bytes(content)
        with pytest.raises(BadPolicy) as caught:
            load(file, Policy())
        assert says in str(caught.value)

    def test_no_file_and_a_huge_one(self, file: Path, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="No such file"):
            load(tmp_path / "none.yaml", Policy())
        file.write_bytes(b"#" * (8 * 1024 * 1024 + 1))
        with pytest.raises(BadInput, match="more than"):
            load(file, Policy())


class TestFourEyes:
    def test_only_signed_by_an_approver(self, file: Path, tmp_path: Path) -> None:
        (boss, boss_public, boss_print), (other, _, _) = keys(tmp_path, "boss"), keys(tmp_path, "other")
        settings = Policy(approvers=(boss_public,))
        with pytest.raises(BadInput, match="0 of 1 approvals"):
            load(file, settings)
        sign(file, other)
        with pytest.raises(BadInput, match="0 of 1 approvals"):
            load(file, settings)
        assert sign(file, boss) == boss_print
        assert sign(file, boss) == boss_print, "again changes nothing"
        assert len((tmp_path / "policy.yaml.sig").read_text().splitlines()) == 2
        assert load(file, settings).text.approved_by == (boss_print,)
        file.write_text(GOOD + "# one byte more\n")
        with pytest.raises(BadInput, match="0 of 1 approvals"):
            load(file, settings)

    def test_by_two(self, file: Path, tmp_path: Path) -> None:
        (one, one_public, _), (two, two_public, _) = keys(tmp_path, "one"), keys(tmp_path, "two")
        settings = Policy(approvers=(one_public, two_public, one_public), approvals=2)
        sign(file, one)
        with pytest.raises(BadInput, match="1 of 2 approvals"):
            load(file, settings)
        sign(file, two)
        assert len(load(file, settings).text.approved_by) == 2

    def test_as_openssl_signs(self, file: Path, tmp_path: Path) -> None:
        private, public, _ = keys(tmp_path, "boss")
        (tmp_path / "digest").write_text(load(file, Policy()).digest)
        command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", str(private), "-in", str(tmp_path / "digest")]
        try:
            made = subprocess.run(command, capture_output=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no openssl that signs with Ed25519")
        (tmp_path / "policy.yaml.sig").write_bytes(base64.b64encode(made) + b"\n")
        assert load(file, Policy(approvers=(public,))).text.approved_by

    def test_settings_that_no_policy_could_meet_are_refused(self, tmp_path: Path) -> None:
        _, public, _ = keys(tmp_path, "boss")
        for wrong in ({"approvals": 2}, {"approvals": 2, "approvers": (public,)}):
            with pytest.raises(ValidationError, match="approvals is 2"):
                Policy(**wrong)
        assert Policy.model_validate({"file": ""}).file is None

    def test_keys_and_signatures_that_are_none(self, file: Path, tmp_path: Path) -> None:
        private, public, _ = keys(tmp_path, "boss")
        wrong = tmp_path / "x25519.pem"
        key = X25519PrivateKey.generate()
        wrong.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        for bad in (wrong, public, file):
            with pytest.raises(BadInput, match="no Ed25519 private key"):
                sign(file, bad)
        for bad in (private, file):
            with pytest.raises(BadInput, match="no Ed25519 public key"):
                load(file, Policy(approvers=(bad,)))
        (tmp_path / "policy.yaml.sig").write_text("AAAA\n!\n")
        with pytest.raises(BadInput, match=r"policy\.yaml\.sig, line 2: no signature"):
            load(file, Policy(approvers=(public,)))
        file.write_text("version: 2")
        with pytest.raises(BadPolicy):
            sign(file, private)


class TestWatch:
    @pytest.fixture
    def watch(self, file: Path) -> Iterator[Watch]:
        made = Watch(Policy(file=file, check_every_s=0.02))
        yield made
        made.close()

    @staticmethod
    def until(holds: Callable[[], object]) -> object:
        deadline = time.monotonic() + 10
        while not (found := holds()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return found

    def test_without_a_file_there_is_none(self) -> None:
        watch = Watch(Policy())
        assert isinstance(watch.policy, EmptyPolicy)
        assert taken(watch) is None
        watch.close()

    def test_a_worker_does_not_start_with_a_wrong_one(self, file: Path) -> None:
        file.write_text("version: 2")
        with pytest.raises(BadPolicy):
            Watch(Policy(file=file))

    def test_a_change_is_taken_between_two_batches(self, watch: Watch, file: Path) -> None:
        first = watch.policy
        file.write_text(OTHER)
        self.until(lambda: taken(watch) is None and watch.policy.digest != first.digest)
        assert isinstance(watch.policy, RulePolicy)
        assert watch.policy.document.rules[0].id == "b"

    def test_a_wrong_one_changes_nothing_and_is_told_once(self, watch: Watch, file: Path) -> None:
        first = watch.policy
        file.write_text("version: 1\nrule: x")
        refused = self.until(lambda: taken(watch))
        assert "policy.yaml:2:1: rule: unknown key 'rule'" in str(refused)
        assert watch.policy is first
        assert REGISTRY.get_sample_value("compliance_policy_refused") == 1
        time.sleep(0.1)
        assert taken(watch) is None
        file.unlink()
        assert "No such file" in str(self.until(lambda: taken(watch)))
        file.write_text(GOOD)
        self.until(lambda: REGISTRY.get_sample_value("compliance_policy_refused") == 0)
        assert taken(watch) is None
        assert watch.policy is first

    def test_a_defect_does_not_end_the_watching(self, file: Path) -> None:
        def fit(ready: RulePolicy) -> None:
            if ready.document.rules[0].id == "b":
                raise ZeroDivisionError

        watch = Watch(Policy(file=file, check_every_s=0.02), fit)
        file.write_text(OTHER)
        assert "a defect: ZeroDivisionError" in str(self.until(lambda: taken(watch)))
        file.write_text(OTHER.replace("id: b", "id: c"))
        self.until(lambda: taken(watch) is None and watch.policy.digest == load(file, Policy()).digest)
        watch.close()

    def test_what_only_lacked_a_topic_is_taken_once_it_is_there(self, file: Path) -> None:
        there = threading.Event()

        def fit(ready: RulePolicy) -> None:
            if ready.document.rules[0].id == "b" and not there.is_set():
                raise Misconfigured("no topic")

        watch = Watch(Policy(file=file, check_every_s=0.02), fit)
        file.write_text(OTHER)
        assert "no topic" in str(self.until(lambda: taken(watch)))
        time.sleep(0.1)
        assert taken(watch) is None, "told once"
        there.set()
        self.until(lambda: taken(watch) is None and watch.policy.digest == load(file, Policy()).digest)
        watch.close()

    def test_one_that_does_not_fit_here_is_refused_too(self, file: Path) -> None:
        def fit(ready: RulePolicy) -> None:
            if ready.document.rules[0].id == "b":
                raise Misconfigured("no topic")

        watch = Watch(Policy(file=file, check_every_s=0.02), fit)
        file.write_text(OTHER)
        assert "no topic" in str(self.until(lambda: taken(watch)))
        watch.close()
