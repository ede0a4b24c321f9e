#!/usr/bin/env python3
"""A second verifier, written from docs/recording-format.md alone, so that the page is known to be enough.

usage: verify.py EVIDENCE... [--public-key FILE] [--at-least HEAD]

Verifies everything in each evidence directory and prints one JSON object a line:
{"sessions": {id: {"verdict": ..., "detail": ..., "seq": ...}}, "problems": [...], "heads": [...]}.
Exit status 0 where all is whole, else 1. Needs `cryptography` (Ed25519) and `zstandard`.
"""

import argparse
import base64
import datetime
import hashlib
import json
import os
import re
import sys

import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key, load_pem_public_key

MAX_LINE = 256 * 1024
PART = re.compile(r"^(\d{5,})-([0-9a-f]{64})\.jsonl\.zst$")
MANIFEST_TYPE = "application/vnd.agentaccess.manifest.v1+json"


class Altered(Exception):
    def __init__(self, message, seq=None, obj=None):
        super().__init__(message)
        self.seq, self.obj = seq, obj


def sha256(data):
    return hashlib.sha256(data).digest()


def key_id(key):
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


class Evidence:
    def __init__(self, root):
        self.root = root
        self.names = []
        for folder, _, files in os.walk(root):
            for name in files:
                if not name.startswith(".put-"):
                    self.names.append(os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/"))
        self.names.sort()

    def read(self, name):
        with open(os.path.join(self.root, name), "rb") as file:
            return file.read()

    def under(self, folder):
        return [name[len(folder):] for name in self.names if name.startswith(folder)]


class Keys:
    def __init__(self, keys, given):
        self.keys, self.given, self.used = keys, given, set()

    def check(self, key, text, signature):
        """None where the signature holds, else what is wrong."""
        if not isinstance(key, str) or not isinstance(signature, str):
            return "malformed signature"
        if key not in self.keys:
            return "signed by a key that is not known: " + key
        self.used.add(key)
        try:
            raw = base64.b64decode(signature, validate=True)
            if len(raw) != 64 or base64.b64encode(raw).decode() != signature:
                return "malformed signature"
            self.keys[key].verify(raw, text)
        except (ValueError, InvalidSignature):
            return "the signature does not hold"
        return None


def signed_text(*values):
    return "".join(str(value) + "\n" for value in values).encode()


class Log:
    """Sequence, chain and gaps of one session or ledger."""

    def __init__(self, kind, ident, keys):
        self.kind, self.ident, self.keys = kind, ident, keys
        self.seq, self.lost = 0, []
        self.h = sha256(("agentaccess/%s/1\n%s" % (kind, ident)).encode())

    def next(self, raw):
        expected = self.seq + 1
        try:
            line = json.loads(raw.decode("utf-8"))
        except ValueError:
            raise Altered("not JSON in UTF-8", expected)
        if not isinstance(line, dict) or not isinstance(line.get("kind"), str) or not is_int(line.get("seq")):
            raise Altered("no kind or seq", expected)
        if line.get(self.kind) != self.ident:
            raise Altered("belongs to another " + self.kind, expected)
        if line["seq"] != expected:
            raise Altered("out of sequence", expected)
        before = self.h.hex()
        if line.get("prev") != before[:16]:
            raise Altered("not the event that was recorded", max(1, expected - 1))
        if line["kind"] == "gap" and "chain" in line:
            through, chain = line.get("through"), line["chain"]
            if not is_int(through) or through < expected or not re.fullmatch(r"[0-9a-f]{64}", str(chain)) or line.get("before") != before:
                raise Altered("malformed gap", expected)
            wrong = self.keys.check(line.get("key"), signed_text("agentaccess/gap/1", self.ident, expected, through, before, chain), line.get("sig"))
            if wrong:
                raise Altered("gap: " + wrong, expected)
            self.lost.append((expected, through))
            self.h, self.seq = bytes.fromhex(chain), through
        else:
            self.h, self.seq = sha256(self.h + raw), expected
        return line, before


def parts_of(evidence, folder):
    parts, others = [], []
    for name in evidence.under(folder):
        match = PART.match(name)
        if match and int(match[1]) >= 1 and "%05d" % int(match[1]) == match[1]:
            parts.append((int(match[1]), name, match[2]))
        else:
            others.append(name)
    parts.sort()
    return parts, others


def lines_of(evidence, name, sha):
    raw = evidence.read(name)
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        text = decompressor.decompress(raw)
        whole = decompressor.eof and not decompressor.unused_data
    except zstandard.ZstdError:
        raise Altered("does not decompress", obj=name)
    lines = text.split(b"\n")
    last = lines.pop()
    for line in lines:
        if len(line) + 1 > MAX_LINE:
            raise Altered("a line is too long", obj=name)
        yield line
    if not whole or last:
        raise Altered("the part is cut", obj=name)
    if hashlib.sha256(raw).hexdigest() != sha:
        raise Altered("not the object that its name was made from", obj=name)


def numbered(parts):
    for expected, (number, name, sha) in enumerate(parts, 1):
        if number != expected:
            raise Altered("part %d is missing or there twice" % expected, obj=name)
        yield name, sha


def read_ledger(evidence, folder, spool, keys, wanted):
    ledger = {"folder": folder, "sessions": {}, "last": 0, "problem": None, "head": None, "lost": []}
    log = Log("ledger", spool, keys)
    try:
        parts, others = parts_of(evidence, folder)
        if others:
            raise Altered("does not belong to a ledger", obj=folder + others[0])
        for name, sha in numbered(parts):
            line = None
            for raw in lines_of(evidence, folder + name, sha):
                line, before = log.next(raw)
                ledger_line(ledger, log, line, before, keys)
                if wanted and wanted["spool"] == spool and wanted["seq"] == log.seq and wanted["hash"] == log.h.hex():
                    wanted["found"] = True
            if not line or line["kind"] != "head":
                raise Altered("a part does not end with a head", log.seq, folder + name)
    except Altered as error:
        ledger["problem"] = str(error)
    ledger["lost"] = log.lost
    if log.seq:
        ledger["head"] = "%s:%d:%s" % (spool, log.seq, log.h.hex())
    return ledger


def ledger_line(ledger, log, line, before, keys):
    kind, seq = line["kind"], line["seq"]
    if kind == "open":
        n, session = line.get("n"), line.get("session")
        expected = ledger["last"] + 1
        if not is_int(n) or not isinstance(session, str) or not isinstance(line.get("access"), str):
            raise Altered("malformed open", seq)
        if n < expected or (n > expected and not log.lost):
            raise Altered("session number %d where %d belongs" % (n, expected), seq)
        ledger["sessions"][session] = {"n": n, "closed": None}
        ledger["last"] = n
    elif kind == "close":
        if not is_int(line.get("events")) or not isinstance(line.get("head"), str) or not isinstance(line.get("state"), str):
            raise Altered("malformed close", seq)
        entry = ledger["sessions"].get(line.get("session"))
        if entry:
            entry["closed"] = (line["events"], line["head"])
        elif not log.lost:
            raise Altered("closes a session that was never opened", seq)
    elif kind == "head":
        if line.get("through") != seq - 1 or line.get("head") != before or line.get("n") != ledger["last"]:
            raise Altered("not the head of the lines before it", seq)
        wrong = keys.check(line.get("key"), signed_text("agentaccess/ledger-head/1", log.ident, seq - 1, ledger["last"], before), line.get("sig"))
        if wrong:
            raise Altered("head: " + wrong, seq)
    elif kind == "gap" and "chain" not in line:
        raise Altered("malformed gap", seq)


def day_folder(namespace, session):
    ms = int(session.replace("-", "")[:12], 16)
    day = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    return "sessions/%04d/%02d/%02d/%s/%s/" % (day.year, day.month, day.day, namespace, session)


def verify_session(evidence, folder, namespace, session, keys, ledgers):
    log = Log("session", session, keys)
    started, ended, last, through, gap = None, False, None, 0, False
    blobs, walked = set(), []
    if folder != day_folder(namespace, session):
        raise Altered("not in the folder of its day", obj=folder)
    parts, others = parts_of(evidence, folder)
    for name, sha in numbered(parts):
        first = log.seq + 1
        for raw in lines_of(evidence, folder + name, sha):
            line, before = log.next(raw)
            kind, seq = line["kind"], line["seq"]
            if ended and (kind != "checkpoint" or last == "checkpoint"):
                raise Altered("follows the end of the session", seq)
            if seq == 1 and kind == "session.started":
                started = line.get("ledger")
                if not isinstance(started, dict) or not isinstance(started.get("spool"), str) or not is_int(started.get("n")):
                    raise Altered("no number in the ledger", 1)
            elif seq == 1 and kind != "gap":
                raise Altered("begins with " + kind, 1)
            if kind == "checkpoint":
                adopted = line.get("adoptedFrom")
                if line.get("mode") not in ("live", "adopted") or line.get("through") != seq - 1 or adopted != (through + 1 if line["mode"] == "adopted" else None):
                    raise Altered("malformed checkpoint", seq)
                if line.get("head") != before:
                    raise Altered("not what the checkpoint speaks of", through + 1)
                text = signed_text("agentaccess/checkpoint/1", session, seq - 1, before, line["mode"], "" if adopted is None else adopted)
                wrong = keys.check(line.get("key"), text, line.get("sig"))
                if wrong:
                    raise Altered("checkpoint: " + wrong, through + 1)
                through = seq - 1
            gap = gap or kind == "gap"
            ended = ended or kind == "session.ended"
            last = kind
            attributes = line.get("attributes")
            if isinstance(attributes, dict):
                blobs.update(value for key, value in attributes.items() if key.endswith(".blob") and isinstance(value, str))
        if log.seq < first:
            raise Altered("the part is empty", obj=folder + name)
        walked.append({"name": name, "firstSeq": first, "lastSeq": log.seq, "bytes": os.path.getsize(os.path.join(evidence.root, folder + name))})
    present = set()
    for name in others:
        if name == "manifest.json":
            continue
        if not name.startswith("blobs/"):
            raise Altered("does not belong to a session", obj=folder + name)
        sha = name[len("blobs/"):]
        present.add(sha)
        if hashlib.sha256(evidence.read(folder + name)).hexdigest() != sha:
            raise Altered("not the blob that its name was made from", obj=folder + name)
        if ended and sha not in blobs:
            raise Altered("no event names this blob", obj=folder + name)
    if blobs - present:
        raise Altered("a blob is missing: " + sorted(blobs - present)[0], obj=folder)
    has_manifest = "manifest.json" in others
    if has_manifest:
        manifest = open_manifest(evidence.read(folder + "manifest.json"), keys, folder)
        check_manifest(manifest, log, walked, blobs, ended and last == "checkpoint", started, folder)
        started = started or manifest["ledger"]
    missing = check_ledger(log, started, has_manifest, session, namespace, ledgers, folder)
    if missing:
        return "incomplete", missing, log.seq
    if not ended:
        return "incomplete", "no end", log.seq
    if not has_manifest:
        return "incomplete", "no manifest", log.seq
    if gap:
        return "damaged", "there is a gap", log.seq
    return ("whole", "", log.seq) if keys.given else ("consistent, signer not checked", "", log.seq)


def open_manifest(raw, keys, folder):
    name = folder + "manifest.json"
    try:
        envelope = json.loads(raw.decode("utf-8"))
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = envelope["signatures"][0]
        again = {"payloadType": MANIFEST_TYPE, "payload": base64.b64encode(payload).decode(), "signatures": [{"keyid": signature["keyid"], "sig": signature["sig"]}]}
        if json.dumps(again, separators=(",", ":")) + "\n" != raw.decode("utf-8"):
            raise Altered("the envelope is spelt otherwise", obj=name)
        manifest = json.loads(payload.decode("utf-8"))
        ok = isinstance(manifest["ledger"]["spool"], str) and is_int(manifest["ledger"]["n"]) and manifest["state"] in ("ended", "interrupted")
    except (ValueError, KeyError, IndexError, TypeError):
        ok = False
    if not ok:
        raise Altered("malformed manifest", obj=name)
    text = b"DSSEv1 %d %s %d " % (len(MANIFEST_TYPE), MANIFEST_TYPE.encode(), len(payload)) + payload
    wrong = keys.check(signature["keyid"], text, signature["sig"])
    if wrong:
        raise Altered("manifest: " + wrong, obj=name)
    return manifest


def check_manifest(manifest, log, walked, blobs, ends_well, started, folder):
    name = folder + "manifest.json"
    listed = manifest.get("parts")
    if manifest.get("session") != log.ident or not isinstance(listed, list):
        raise Altered("the manifest belongs to another session", obj=name)
    for i, part in enumerate(listed):
        if i >= len(walked):
            raise Altered("a part is missing", part.get("firstSeq"))
        if {key: part.get(key) for key in walked[i]} != walked[i]:
            raise Altered("a part is not the one in the manifest", walked[i]["firstSeq"])
    if len(walked) > len(listed):
        raise Altered("there are parts that the manifest does not name", obj=name)
    if not ends_well:
        raise Altered("a manifest, and the session does not end", log.seq + 1)
    if sorted(manifest.get("blobs", [])) != sorted(blobs) or manifest.get("events") != log.seq or manifest.get("head") != log.h.hex():
        raise Altered("the manifest says something else than what is here", obj=name)
    if started and (started["spool"], started["n"]) != (manifest["ledger"]["spool"], manifest["ledger"]["n"]):
        raise Altered("the manifest names another place in the ledger", obj=name)


def check_ledger(log, started, has_manifest, session, namespace, ledgers, folder):
    if not started:
        return "its ledger is not known"
    ledger = ledgers.get((namespace, started["spool"]))
    if not ledger:
        return "its ledger is not here"
    if ledger["problem"]:
        raise Altered("its ledger is altered: " + ledger["problem"], obj=ledger["folder"])
    entry = ledger["sessions"].get(session)
    if not entry:
        if started["n"] > ledger["last"]:
            return "its ledger ends before it"
        if ledger["lost"]:
            return None
        raise Altered("the ledger has another session at its number", obj=ledger["folder"])
    if entry["n"] != started["n"]:
        raise Altered("the ledger knows it by another number", obj=ledger["folder"])
    if not entry["closed"]:
        return "its ledger has no close of it" if has_manifest and not ledger["lost"] else None
    events, head = entry["closed"]
    if log.seq < events:
        raise Altered("events are missing: the ledger closed it with %d" % events, log.seq + 1)
    if log.seq != events or log.h.hex() != head:
        raise Altered("not the session that the ledger closed", events)
    if not has_manifest:
        raise Altered("the manifest is missing: the ledger says that it is closed", obj=folder + "manifest.json")
    return None


def find_keys(evidence, public_key):
    if public_key:
        with open(public_key, "rb") as file:
            blocks = re.findall(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", file.read(), re.S)
        keys = [load_pem_public_key(block) for block in blocks]
        return Keys({key_id(key): key for key in keys}, True)
    found = {}
    for name in evidence.under("keys/"):
        try:
            key = read_key(evidence, name)
            found[key_id(key)] = key
        except (ValueError, KeyError, TypeError):
            pass
    return Keys(found, False)


def read_key(evidence, name):
    raw = evidence.read("keys/" + name).decode("utf-8")
    key = load_der_public_key(base64.b64decode(json.loads(raw)["spki"], validate=True))
    ident = key_id(key)
    spki = base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    if not isinstance(key, Ed25519PublicKey) or raw != '{"key":"%s","algorithm":"Ed25519","spki":"%s"}\n' % (ident, spki) or name != ident + ".json":
        raise ValueError(name)
    return key


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("evidence", nargs="+")
    parser.add_argument("--public-key")
    parser.add_argument("--at-least")
    args = parser.parse_args()
    whole = [verify(Evidence(root), args.public_key, args.at_least) for root in args.evidence]
    sys.exit(0 if all(whole) else 1)


def verify(evidence, public_key, at_least):
    """Prints what is found. Whether all is whole."""
    keys = find_keys(evidence, public_key)
    wanted = None
    if at_least:
        spool, seq, head = at_least.split(":")
        wanted = {"spool": spool, "seq": int(seq), "hash": head, "found": False}
    sessions, ledgers, problems, stray = {}, {}, [], []
    for name in evidence.names:
        session = re.match(r"(sessions/\d{4}/\d\d/\d\d/([^/]+)/([0-9a-f-]{36})/)", name)
        ledger = re.match(r"(ledger/([^/]+)/([0-9a-f-]{36})/)", name)
        if session:
            sessions[session[1]] = (session[2], session[3])
        elif ledger:
            ledgers.setdefault((ledger[2], ledger[3]), ledger[1])
        elif not name.startswith(("keys/", "index/")):
            stray.append(name)
    ledgers = {at: read_ledger(evidence, folder, at[1], keys, wanted) for at, folder in ledgers.items()}
    reports = {}
    for folder, (namespace, session) in sorted(sessions.items()):
        try:
            verdict, detail, events = verify_session(evidence, folder, namespace, session, keys, ledgers)
            reports[session] = {"verdict": verdict, "detail": detail, "events": events}
        except Altered as error:
            reports[session] = {"verdict": "altered", "detail": str(error), "seq": error.seq, "object": error.obj}
    for ledger in ledgers.values():
        if ledger["problem"]:
            problems.append("a ledger is altered: " + ledger["problem"])
        if ledger["lost"]:
            problems.append("lines of a ledger were lost")
        problems += ["session %s is missing" % ident for ident in ledger["sessions"] if ident not in reports]
    problems += ["not an object of the evidence: " + name for name in stray]
    present = set()
    for name in evidence.under("keys/"):
        try:
            present.add(key_id(read_key(evidence, name)))
        except (ValueError, KeyError, TypeError):
            problems.append("not the key that its name says: " + name)
    problems += ["the public key is missing: " + key for key in sorted(keys.used - present)]
    if wanted and not wanted["found"]:
        problems.append("the ledger does not have the given head")
    heads = sorted(ledger["head"] for ledger in ledgers.values() if ledger["head"])
    print(json.dumps({"sessions": reports, "problems": problems, "heads": heads}))
    return not problems and all(report["verdict"] == "whole" for report in reports.values())


if __name__ == "__main__":
    main()
