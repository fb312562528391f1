"""Policies from files: read, checked, approved, made ready; and watched for changes while a worker runs.

Four eyes: where approvers are named, a policy comes into force only with a signature by their keys beside it, in
POLICY.yaml.sig: a line of base64 for each, Ed25519 over the policy's digest as 64 hex digits.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from pipeline import metrics
from pipeline.errors import BadInput, ComplianceError, Unavailable
from pipeline.policy.api import EmptyPolicy, Policy, PolicyText
from pipeline.policy.document import MOST_BYTES, BadPolicy, Fault, read
from pipeline.policy.judge import RulePolicy
from pipeline.policy_groups import Directory, Groups, canonical
from pipeline.settings import Policy as PolicySettings

SIGNATURES: Final = ".sig"
MOST_SIGNATURES: Final = 100

log = structlog.get_logger(__name__)


def load(file: Path, settings: PolicySettings) -> RulePolicy:
    """The policy in a file, ready to judge.

    Args:
        file: the policy file.
        settings: name those whose approval it needs, if any.

    Raises:
        BadInput: it cannot be read, is wrong (BadPolicy, with line and column), or is not approved.
    """
    return _make(file, _read(file), settings)


class Checked(NamedTuple):
    """A policy file that was looked at."""

    digest: str
    policy: RulePolicy | None
    refused: BadInput | None
    """Why it cannot come into force; a BadPolicy has line and column of each fault."""


def examine(file: Path, settings: PolicySettings) -> Checked:
    """Whether a policy could come into force.

    Args:
        file: the policy file.
        settings: name those whose approval it needs, if any.

    Raises:
        BadInput: it cannot be read.
    """
    content = _read(file)
    digest = PolicyText(content).digest
    try:
        return Checked(digest, _make(file, content, settings), None)
    except BadInput as refused:
        return Checked(digest, None, refused)


def sign(file: Path, key: Path) -> str:
    """Approve a policy: add a signature over its digest to the signatures beside it; the public key's fingerprint.

    Args:
        file: the policy file; it must be a good one.
        key: Ed25519 private key, PEM (PKCS #8), without a passphrase.

    Raises:
        BadInput: the policy or the key cannot be used.
    """
    content = _read(file)
    read(_text(file, content), str(file))
    try:
        private = load_pem_private_key(_read(key), None)
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise BadInput(f"{key}: no Ed25519 private key in PEM without a passphrase")
    signature = base64.b64encode(private.sign(PolicyText(content).digest.encode())).decode()
    beside = file.with_name(file.name + SIGNATURES)
    try:
        before = beside.read_text(encoding="ascii").splitlines() if beside.exists() else []
        kept = [line for line in dict.fromkeys(before) if line != signature][1 - MOST_SIGNATURES :]
        beside.write_text("\n".join([*kept, signature]) + "\n", encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{beside}: {error}") from None
    return fingerprint(private.public_key())


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256, hex, of the key's DER form (SubjectPublicKeyInfo, RFC 8410)."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as source:
            content = source.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise BadInput(f"{file}: more than {MOST_BYTES:,} bytes")
    return content


def _text(file: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise BadPolicy(str(file), [Fault(line, column, "not UTF-8: save the file as UTF-8")]) from None


def _make(file: Path, content: bytes, settings: PolicySettings, directory: Directory | None = None) -> RulePolicy:
    document = read(_text(file, content), str(file))
    approved = approvals(file, content, settings.approvers) if settings.approvers else ()
    if settings.approvers and len(approved) < settings.approvals:
        raise BadInput(
            f"{file}: {len(approved)} of {settings.approvals} approvals: an approver signs this very file with "
            f"`compliance policy approve {file} --key KEY.pem`"
        )
    wanted = {name: members for name, members in (directory or {}).items() if name in document.directory}
    text = PolicyText(content, canonical(wanted), approved)
    try:
        return RulePolicy(document, text, wanted)
    except ValueError as error:  # too many patterns: the worker that watches the file lives on
        raise BadPolicy(str(file), [Fault(1, 1, str(error))]) from None


def approvals(file: Path, content: bytes, approvers: Sequence[Path]) -> tuple[str, ...]:
    """Fingerprints of the approvers whose signature over the policy's digest stands beside it.

    Raises:
        BadInput: an approver's key or the signatures cannot be read.
    """
    beside = file.with_name(file.name + SIGNATURES)
    signatures: list[bytes] = []
    if beside.exists():
        for number, line in enumerate(_read(beside).splitlines()[:MOST_SIGNATURES], 1):
            try:
                signatures.append(base64.b64decode(line.strip(), validate=True))
            except (binascii.Error, ValueError):
                raise BadInput(f"{beside}, line {number}: no signature in base64") from None
    digest = PolicyText(content).digest.encode()
    found = []
    for path in approvers:
        try:
            key = load_pem_public_key(_read(path))
        except ValueError:
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise BadInput(f"{path}: no Ed25519 public key in PEM")
        if any(_signed(key, signature, digest) for signature in signatures):
            found.append(fingerprint(key))
    return tuple(dict.fromkeys(found))


def _signed(key: Ed25519PublicKey, signature: bytes, digest: bytes) -> bool:
    try:
        key.verify(signature, digest)
    except InvalidSignature:
        return False
    return True


class Refused(NamedTuple):
    """A policy file that does not come into force."""

    digest: str
    """SHA-256, hex, of the file; empty where there is nothing in it or it cannot be read."""
    why: str


class Watch:
    """Looks at the policy file in a thread of its own; the worker takes what is new between two transactions.

    Args:
        settings: the file, who must approve it, and how often it is looked at.
        fit: told of a policy before it is taken; raises ComplianceError where it cannot come into force here.
        groups: gives the groups of the groups topic; None: there are none.

    Raises:
        BadInput: the file cannot come into force; a worker does not start under no policy instead.
    """

    def __init__(
        self,
        settings: PolicySettings,
        fit: Callable[[RulePolicy], None] | None = None,
        groups: Callable[[], Groups] | None = None,
    ) -> None:
        self._settings, self._fit, self._groups = settings, fit, groups
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._fresh: RulePolicy | None = None
        self._refused: Refused | None = None
        self._thread: threading.Thread | None = None
        self._directory: Groups | None = None
        self._again = False
        self._told: Refused | None = None
        self.policy: Policy = EmptyPolicy()
        """In force; of the worker's thread."""
        if settings.file is not None:
            self._directory = groups() if groups is not None else None
            if wrong := self._wrong_groups(settings.file):
                raise BadInput(wrong)
            self._seen = self._look(settings.file)
            ready = self._make(settings.file, _read(settings.file))
            if fit is not None:
                fit(ready)
            self.policy = ready
            metrics.POLICY_REFUSED.set(0)
            log.info("policy", file=str(settings.file), digest=ready.digest)
            self._thread = threading.Thread(target=self._run, args=(settings.file,), name="policy", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Look no longer."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def take(self) -> Refused | None:
        """Put a changed policy in force; give what was refused, until it is `told`."""
        if self._fresh is None and self._refused is None:
            return None
        with self._lock:
            fresh, self._fresh = self._fresh, None
            refused = self._refused
        if fresh is not None:
            log.info("policy changed", before=self.policy.digest, digest=fresh.digest)
            self.policy = fresh
        return refused

    def told(self, refused: Refused) -> None:
        """What was refused is on record; `take` gives it no more."""
        with self._lock:
            if self._refused is refused:
                self._refused = None

    def _run(self, file: Path) -> None:
        before, moved = self._seen, False
        while not self._end.wait(self._settings.check_every_s):
            now = self._look(file)
            moved |= self._groups is not None and self._look_at_groups(self._groups, file)
            if now == before and (now != self._seen or moved or self._again):
                # Twice the same: nobody is in the midst of writing it.
                self._seen, moved = now, False
                self._change(file)
            before = now

    def _look_at_groups(self, groups: Callable[[], Groups], file: Path) -> bool:
        """Whether the groups have changed; those that cannot be read stay as they were."""
        try:
            now = groups()
        except ComplianceError as error:
            log.warning("groups cannot be read, they stay as they were", why=str(error))
            return False
        moved, self._directory = now != self._directory, now
        if moved and (wrong := self._wrong_groups(file)):
            self._refuse(Refused(self.policy.digest, wrong))
        return moved

    def _wrong_groups(self, file: Path) -> str:
        """What is wrong with groups that the policy names."""
        if self._directory is None or not self._directory.faults:
            return ""
        try:
            wanted = read(_text(file, _read(file)), str(file)).directory
        except BadInput:
            return ""  # which is told elsewhere
        return "; ".join(self._directory.faults[name] for name in wanted if name in self._directory.faults)

    def _make(self, file: Path, content: bytes) -> RulePolicy:
        return _make(file, content, self._settings, None if self._directory is None else self._directory.members)

    def _look(self, file: Path) -> tuple[bytes | None, bytes | None]:
        return _bytes(file), _bytes(file.with_name(file.name + SIGNATURES))

    def _change(self, file: Path) -> None:
        content = b""
        try:
            content = _read(file)
            ready = self._make(file, content)
            if self._fit is not None:
                self._fit(ready)
        except Unavailable as error:
            log.warning("whether a changed policy can be taken is not known yet", why=str(error))
            self._again = True
        except ComplianceError as error:
            # What is wrong with the file stays so until it changes; a topic that it needs may come.
            self._again = not isinstance(error, BadInput)
            self._refuse(Refused(hashlib.sha256(content).hexdigest() if content else "", str(error)))
        except Exception as error:
            log.exception("policy")  # a defect of ours, and no reason to look no longer
            self._refuse(Refused(hashlib.sha256(content).hexdigest(), f"a defect: {type(error).__name__}"))
        else:
            self._again = False
            if not self._wrong_groups(file):
                self._told = None
                metrics.POLICY_REFUSED.set(0)
            with self._lock:
                self._fresh = ready if ready.digest != self.policy.digest else None

    def _refuse(self, refused: Refused) -> None:
        if refused == self._told:
            return
        self._told = refused
        log.error("policy refused, the old one stays in force", digest=refused.digest, why=refused.why)
        metrics.POLICY_REFUSED.set(1)
        with self._lock:
            self._refused, self._fresh = refused, self._fresh if refused.digest == self.policy.digest else None


def _bytes(file: Path) -> bytes | None:
    """What is in it; None where it cannot be read, which _read tells of."""
    try:
        with file.open("rb") as source:
            return source.read(MOST_BYTES + 1)
    except OSError:
        return None
