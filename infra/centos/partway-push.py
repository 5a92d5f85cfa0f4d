#!/usr/bin/env python3
"""Pushes a file to a Partway gateway, and goes on where an earlier push of it was cut off.

One file for hosts where nothing may be installed: Python 3.6 or newer, its standard library alone.
"""

import argparse
import base64
import collections
import email.utils
import errno
import fcntl
import hashlib
import http.client
import json
import os
import queue
import random
import re
import secrets
import select
import shlex
import signal
import socket
import ssl
import stat
import sys
import threading
import time
import traceback
import urllib.parse
import zlib

VERSION = "0.1.0"
PROGRAM = os.path.basename(sys.argv[0]) or "partway-push.py"

EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_SOURCE = 3
EXIT_NO_UPLOAD = 4
EXIT_TEMPORARY = 5
EXIT_NOT_AUTHORISED = 6
EXIT_INTEGRITY = 7
EXIT_REFUSED = 8
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

KIB = 1024
PIECE_BYTES = 128 * KIB
SMALLEST_PIECE_BYTES = 4 * KIB
SMALLEST_CHUNK_BYTES = 64 * KIB
SUCCESSES_TO_GROW = 4
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30
MOST_DIGEST_MISMATCHES = 3
MOST_REFUSED_COMPLETIONS = 3
# How often what is missing is sent.
MOST_ROUNDS = 3
# What the gateway tells of an upload, as far as it is read here.
UPLOAD_FIELDS = {"id", "state", "partSize", "partCount", "receivedBytes"}
LISTED_PARTS = 1000
# The gateway names so many missing ranges at most.
LISTED_RANGES = 100

REDRAW_SECONDS = 1 / 8
PLAIN_LINE_SECONDS = 30
JSON_STATUS_SECONDS = 1
RATE_WINDOW_SECONDS = 10
LAST_WORDS_SECONDS = 2


class Failure(Exception):
    """Ends the push. `code` is for programs, the message for people."""

    def __init__(self, exit_code, code, message, resumable=True):
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
        self.resumable = resumable


class UploadGone(Exception):
    """The gateway has dropped the upload: another one can be begun."""


class Stopped(Exception):
    """A thread ends because the push does; why is known elsewhere."""


class Temporary(Exception):
    """The same request may succeed later."""

    def __init__(self, reason, retry_after_seconds=None, is_break=False):
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
        # The line did not carry what was sent: smaller requests may get through.
        self.is_break = is_break


class DigestMismatch(Exception):
    """The gateway received other bytes than were announced."""


class Conflict(Failure):
    """The upload is not in the state that the request takes it for."""

    def __init__(self, message, problem):
        super().__init__(EXIT_REFUSED, problem.get("code", "state_conflict"), message)
        self.conflict = problem.get("conflict")
        self.upload_state = problem.get("uploadState")
        self.is_incomplete = problem.get("code") == "incomplete"


# --- The source ---------------------------------------------------------------------------------------------------


class Source:
    """The file that is pushed. Whatever is read of it is handed on only while it is the file that was begun."""

    def __init__(self, path, piece_bytes):
        self.path = path
        self.name = readable(os.path.basename(path))
        self._piece_bytes = piece_bytes
        try:
            # A FIFO that nobody writes to would be waited for.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise Failure(EXIT_SOURCE, "source_missing", "%s: %s" % (readable(path), error.strerror))
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Failure(EXIT_SOURCE, "source_missing", "%s is not a regular file" % readable(path))
        self.size = found.st_size
        self.identity = identity_of(found)

    def pieces(self, offset, size):
        """The last piece leaves only if the file is unchanged after it was read: no changed byte completes anything."""
        end = offset + size
        while offset < end:
            piece = self._read(offset, min(self._piece_bytes, end - offset))
            offset += len(piece)
            if offset == end:
                self.require_unchanged()
            yield piece

    def crc32(self, offset, size):
        crc = 0
        for piece in self.pieces(offset, size):
            crc = zlib.crc32(piece, crc)
        return crc

    def require_unchanged(self):
        try:
            found = identity_of(os.stat(self.path))
        except OSError as error:
            raise Failure(EXIT_SOURCE, "source_missing", "%s: %s" % (readable(self.path), error.strerror))
        if found != self.identity:
            raise self.changed("while it was being pushed", self.identity, found)

    def changed(self, when, before, now):
        names = [("size", "size"), ("mtimeNs", "time of modification"), ("ctimeNs", "time of change"), ("inode", "inode")]
        differences = [
            "%s %s, was %s" % (name, now[key], before.get(key)) for key, name in names if now[key] != before.get(key)
        ]
        return Failure(
            EXIT_SOURCE,
            "source_changed",
            "%s has changed %s (%s). Nothing was completed. Push a copy or a snapshot, which stays as it is; "
            "with --restart what was sent is dropped and the file pushed as it is now."
            % (readable(self.path), when, "; ".join(differences)),
        )

    def _read(self, offset, size):
        try:
            piece = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise Failure(EXIT_SOURCE, "source_unreadable", "%s: %s" % (readable(self.path), error.strerror))
        if not piece:
            self.require_unchanged()
            raise Failure(EXIT_SOURCE, "source_unreadable", "%s ends before its size" % readable(self.path))
        return piece


def identity_of(found):
    # The time of change, too: rsync --inplace and disk images leave new bytes behind an old time of modification.
    return {
        "size": found.st_size,
        "mtimeNs": found.st_mtime_ns,
        "ctimeNs": found.st_ctime_ns,
        "inode": found.st_ino,
    }


def readable(path):
    return os.fsencode(path).decode("utf-8", "replace")


# --- CRC-32 of the whole, from those of its parts -----------------------------------------------------------------

# Polynomials over GF(2), bits reflected as in CRC-32: the highest bit is x to the power of 0.
CRC32_POLYNOMIAL = 0xEDB88320
X_TO_THE_0 = 0x80000000
X_TO_THE_8 = 0x00800000


def multiply(a, b):
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (CRC32_POLYNOMIAL if b & 1 else 0)
    return product


def shift_of(size):
    """What a CRC is multiplied with when `size` bytes follow."""
    shift, square = X_TO_THE_0, X_TO_THE_8
    while size:
        if size & 1:
            shift = multiply(shift, square)
        square = multiply(square, square)
        size >>= 1
    return shift


def join_crc32s(parts):
    """The CRC-32 of the whole, from (CRC-32, size) of its parts in order."""
    shifts = {}
    whole = 0
    for crc, size in parts:
        if size not in shifts:
            shifts[size] = shift_of(size)
        whole = multiply(shifts[size], whole) ^ crc
    return whole


def format_digest(crc):
    """RFC 9530. CRC-32 rather than MD5: faster by far, there on hosts in FIPS mode, and parts' add up to the whole's."""
    return "crc32=:%s:" % base64.b64encode(crc.to_bytes(4, "big")).decode()


def parse_digest(field):
    found = re.search(r"\bcrc32=:([^:]*):", field or "")
    return int.from_bytes(base64.b64decode(found.group(1)), "big") if found else None


# --- What is remembered of a push ---------------------------------------------------------------------------------


class State:
    """A hint for the next run; what is stored, the gateway alone knows. Held by one push at a time."""

    def __init__(self, gateway_url, key, source):
        folder = os.path.join(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "partway")
        what = "\0".join([gateway_url, key, os.path.realpath(source.path)])
        name = hashlib.sha256(what.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._path = os.path.join(folder, "push-%s.json" % name)
        self._about = {"gateway": gateway_url, "key": key, "file": readable(os.path.realpath(source.path))}
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
            self._lock = lock(self._path + ".lock")
        except BlockingIOError:
            message = "%s is being pushed to %s already, by another process"
            raise Failure(EXIT_REFUSED, "already_running", message % (source.name, key))
        except OSError as error:
            message = "%s: %s. XDG_STATE_HOME names another place for what must be remembered"
            raise Failure(EXIT_USAGE, "no_state", message % (folder, error.strerror), resumable=False)

    def load(self):
        try:
            with open(self._path, encoding="utf-8") as file:
                values = json.load(file)
        except (FileNotFoundError, ValueError):
            return None
        return values if isinstance(values, dict) else None

    def save(self, values):
        draft = self._path + ".new"
        with open(draft, "w", encoding="utf-8") as file:
            json.dump(dict(self._about, **values), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self._path)
        # A new name is on the disk for sure once its folder is.
        folder = os.open(os.path.dirname(self._path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def forget(self):
        remove(self._path)

    def close(self):
        """Where nothing is remembered, nothing is left behind."""
        if not os.path.exists(self._path):
            remove(self._path + ".lock")
        os.close(self._lock)


def lock(path):
    """Holds a file of its own, as the state's is replaced. Raises BlockingIOError where another process holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        except OSError:
            os.close(descriptor)
            raise
        # Who held it has removed it: what is locked now is nobody's.
        os.close(descriptor)


def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


# --- The gateway --------------------------------------------------------------------------------------------------


class Gateway:
    """Where it is and how it is spoken to."""

    def __init__(self, url, api_key, timeout_seconds, ca_file):
        place = urllib.parse.urlsplit(url)
        self.url = url.rstrip("/")
        # It has answered as a gateway: what stands in for it now will pass.
        self.is_known = False
        self._host, self._port = place.hostname, place.port
        self._base_path = place.path.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._tls = tls_context(ca_file) if place.scheme == "https" else None
        self._headers = {"User-Agent": "partway-push/" + VERSION, "Accept": "application/json"}
        if api_key:
            self._headers["Authorization"] = "Bearer " + api_key

    def connection(self):
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_seconds)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_seconds, context=self._tls
        )

    def put_head(self, connection, request):
        connection.putrequest(request.method, self._base_path + request.path, skip_accept_encoding=True)
        for name, value in dict(self._headers, **request.headers).items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(request.size))
        connection.endheaders()


def tls_context(ca_file):
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Failure(EXIT_USAGE, "usage", "--ca-file %s: %s" % (ca_file, error), resumable=False)


class Request:
    def __init__(self, method, path, headers=None, pieces=(), size=0):
        self.method = method
        self.path = path
        self.headers = headers or {}
        self.pieces = pieces
        self.size = size


def json_request(method, path, body, headers=None):
    data = json.dumps(body).encode()
    return Request(method, path, dict(headers or {}, **{"Content-Type": "application/json"}), [data], len(data))


class Answer:
    def __init__(self, response):
        self.status = response.status
        self._retry_after = response.getheader("Retry-After")
        self.location = response.getheader("Location")
        body = response.read()
        is_json = "json" in (response.getheader("Content-Type") or "")
        self.body = json.loads(body.decode("utf-8")) if is_json else {}
        if self.is_success and body and not is_json or not isinstance(self.body, dict):
            raise ValueError("the answer is not a gateway's")

    @property
    def is_success(self):
        return 200 <= self.status < 300

    @property
    def is_temporary(self):
        if self.status == 409:
            return self.body.get("code") == "busy"
        # Proxies have faults of their own beyond the registered ones: 520 to 530.
        return self.status in (408, 425, 429) or self.status >= 500 and self.status not in (501, 505)

    @property
    def retry_after_seconds(self):
        """RFC 9110, section 10.2.3: seconds, or a date."""
        if self._retry_after is None:
            return None
        if self._retry_after.isdigit():
            return int(self._retry_after)
        try:
            return max(0, email.utils.parsedate_to_datetime(self._retry_after).timestamp() - time.time())
        except (TypeError, ValueError):
            return None

    def __str__(self):
        return "%d %s" % (self.status, self.body.get("detail") or http.client.responses.get(self.status, ""))


class Line:
    """One thread's connection, opened when it is needed and kept from request to request."""

    def __init__(self, gateway, throttle, progress, stop):
        self._gateway = gateway
        self._throttle = throttle
        self._progress = progress
        self._stop = stop
        self._connection = None
        self._sent_bytes = 0

    def ask(self, request):
        """The answer, where it is a success. Raises Temporary, or what the refusal means."""
        self._sent_bytes = 0
        self._progress.launched()
        try:
            answer = self._exchange(request)
        except Temporary:
            if self._stop.is_set():
                raise Stopped()
            raise
        finally:
            self._progress.landed(self._sent_bytes)
        if answer.is_success:
            self._gateway.is_known = True
            return answer
        raise meaning_of(answer, self._gateway)

    def cut(self):
        """From another thread: whatever it waits for ends now."""
        connection = self._connection
        try:
            connection.sock.shutdown(socket.SHUT_RDWR)
        except (AttributeError, OSError):
            pass

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, request):
        self._open()
        try:
            self._gateway.put_head(self._connection, request)
            for piece in request.pieces:
                self._throttle.take(len(piece))
                self._connection.send(piece)
                self._sent_bytes += len(piece)
                self._progress.sent(len(piece))
        except OSError as error:
            return self._early_answer(error)
        except BaseException:
            self.close()
            raise
        try:
            return Answer(self._connection.getresponse())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Temporary(words_of(error), is_break=self._sent_bytes > 0)

    def _open(self):
        if self._connection is not None and is_readable(self._connection.sock):
            # Nothing is owed to us: the other side has closed it.
            self.close()
        if self._connection is None:
            self._connection = self._gateway.connection()
        if self._connection.sock is None:
            try:
                self._connection.connect()
            except (OSError, ssl.CertificateError) as error:
                self.close()
                message = "%s: %s" % (self._gateway.url, words_of(error))
                raise Failure(EXIT_REFUSED, "untrusted", message) if is_untrusted(error) else Temporary(message)

    def _early_answer(self, error):
        """Who refuses a body need not read it: the answer may be there although the sending broke."""
        try:
            answer = Answer(self._connection.getresponse())
        except (OSError, http.client.HTTPException, ValueError):
            raise Temporary(words_of(error), is_break=self._sent_bytes > 0)
        finally:
            self.close()
        if answer.is_success:
            raise Temporary(words_of(error), is_break=True)
        return answer


def is_readable(sock):
    return sock is not None and bool(select.select([sock], [], [], 0)[0])


def is_untrusted(error):
    # Before Python 3.7 a wrong host name was a CertificateError, and a certificate nobody knows was not.
    return isinstance(error, ssl.CertificateError) or getattr(error, "reason", None) == "CERTIFICATE_VERIFY_FAILED"


def words_of(error):
    if isinstance(error, socket.timeout):
        return "the gateway is silent"
    if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ECONNRESET):
        return "the connection broke"
    if isinstance(error, http.client.HTTPException):
        return "the connection broke within the answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def meaning_of(answer, gateway):
    status, problem = answer.status, answer.body
    if answer.is_temporary:
        return Temporary(str(answer), answer.retry_after_seconds, is_break=status == 408)
    if status in (401, 403):
        return Failure(EXIT_NOT_AUTHORISED, problem.get("code", "unauthorized"), str(answer))
    if problem.get("code") == "upload_not_found":
        return Failure(EXIT_NO_UPLOAD, "upload_not_found", "%s --restart begins anew" % answer, resumable=False)
    if 300 <= status < 400 and answer.location:
        message = "%s sends elsewhere, to %s: name that server" % (gateway.url, answer.location)
        return Failure(EXIT_REFUSED, "redirected", message)
    if status in (404, 410) and "code" not in problem:
        # A proxy that has no gateway behind it just now, or something else altogether.
        message = "what answers at %s (with status %d) is not a gateway" % (gateway.url, status)
        return Temporary(message) if gateway.is_known else Failure(EXIT_REFUSED, "no_gateway", message)
    if status == 410:
        return UploadGone(problem.get("detail") or "The upload is gone.")
    if problem.get("code") == "digest_mismatch":
        return DigestMismatch(str(answer))
    if status == 409:
        return Conflict(str(answer), problem)
    return Failure(EXIT_REFUSED, problem.get("code", "refused"), str(answer))


# --- Pace ---------------------------------------------------------------------------------------------------------


class Throttle:
    """Lets so many bytes a second through, of all threads together."""

    def __init__(self, bytes_per_second, stop):
        self._bytes_per_second = bytes_per_second
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def take(self, size):
        if self._bytes_per_second is not None:
            with self._lock:
                now = time.monotonic()
                due = max(self._free_at, now)
                self._free_at = due + size / self._bytes_per_second
            self._stop.wait(due - now)
        if self._stop.is_set():
            raise Stopped()


class Patience:
    """How long to wait before the next try, and when to try no more."""

    def __init__(self, give_up_seconds, stop, report):
        self._give_up_seconds = give_up_seconds
        self._stop = stop
        self._report = report
        # Since the first failure after something got through: what takes long has not failed.
        self._failing_since = None

    def renew(self):
        self._failing_since = None

    def wait(self, trouble, tries, part_number=None):
        pause = self._pause(trouble, tries)
        now = time.monotonic()
        since = self._failing_since
        if since is None:
            self._failing_since = since = now
        if now + pause - since > self._give_up_seconds:
            raise Failure(EXIT_TEMPORARY, "temporary", self._hopeless(trouble, pause, now - since))
        self._report.retry(str(trouble), pause, part_number)
        if self._stop.wait(pause):
            raise Stopped()

    def _hopeless(self, trouble, pause, failing_seconds):
        if pause > self._give_up_seconds:
            return "%s. The gateway asks to come back in %s: run it again then" % (trouble, duration(pause))
        return "%s. Nothing got through for %s: run it again later" % (trouble, duration(failing_seconds + pause))

    def _pause(self, trouble, tries):
        if trouble.retry_after_seconds is not None:
            return trouble.retry_after_seconds + random.uniform(0, 0.5)
        return random.uniform(0.5, 1) * min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(tries, 10))


class ChunkSize:
    """What one request carries: a whole part while the line holds, less after it broke, more again when it holds."""

    def __init__(self, largest_bytes):
        self._lock = threading.Lock()
        self._largest_bytes = largest_bytes
        self._bytes = largest_bytes
        self._epoch = 0
        self._successes = 0

    def now(self):
        """The size, and the epoch that tells which requests went out by it."""
        with self._lock:
            return self._bytes, self._epoch

    def broke(self, epoch):
        """Requests of several threads that broke at once are one break."""
        with self._lock:
            if epoch == self._epoch:
                self._set(max(SMALLEST_CHUNK_BYTES, self._bytes // 2))

    def held(self):
        with self._lock:
            self._successes += 1
            if self._successes >= SUCCESSES_TO_GROW and self._bytes < self._largest_bytes:
                self._set(min(self._largest_bytes, self._bytes * 2))

    def _set(self, size):
        self._bytes = size
        self._epoch += 1
        self._successes = 0


# --- The push -----------------------------------------------------------------------------------------------------


class Slot:
    """The bytes that belong to one part number, and those of them that are still to come."""

    def __init__(self, part_number, offset, size):
        self.part_number = part_number
        self.offset = offset
        self.size = size
        self.gaps = [(offset, size)]

    @property
    def is_untouched(self):
        return self.gaps == [(self.offset, self.size)]

    @property
    def missing_bytes(self):
        return sum(size for _, size in self.gaps)

    def take(self, chunk_bytes):
        offset, size = self.gaps[0]
        return offset, min(size, chunk_bytes)

    def stored(self, size):
        offset, gap_bytes = self.gaps.pop(0)
        if size < gap_bytes:
            self.gaps.insert(0, (offset + size, gap_bytes - size))

    def cut_to(self, missing):
        """Keeps what lies within the ranges that the gateway misses."""
        end = self.offset + self.size
        overlaps = [(max(self.offset, start), min(end, start + size)) for start, size in missing]
        self.gaps = [(start, stop - start) for start, stop in overlaps if start < stop]


class Push:
    """One file on its way. Runs in a thread of its own, with a crew of further ones while parts are sent."""

    def __init__(self, options, source, state, gateway, progress, report):
        self._options = options
        self._source = source
        self._state = state
        self._gateway = gateway
        self._progress = progress
        self._report = report
        self._stop = threading.Event()
        self._throttle = Throttle(options.limit_rate, self._stop)
        self._patience = Patience(options.give_up_after, self._stop, report)
        self._lines = []
        self._line = self._new_line()
        self._chunk = None
        self._crcs = {}
        self._refusals = 0
        self._is_interrupted = False
        self.upload_id = None

    @property
    def kept(self):
        """How much of it is stored, in words; None where there is no upload yet."""
        if self.upload_id is None:
            return None
        return "%s of %s" % (binary(self._progress.stored_bytes), binary(self._progress.size))

    def run(self):
        """The completed upload, as the gateway tells it."""
        if self._options.restart:
            self._drop_earlier()
        try:
            return self._push()
        except UploadGone as gone:
            self._report.note("%s Starting over." % gone)
            self._state.forget()
        try:
            return self._push()
        except UploadGone as gone:
            raise Failure(EXIT_NO_UPLOAD, "upload_gone", str(gone))

    def interrupt(self):
        """From another thread: ends `run` soon, with Stopped. The upload stays as it is."""
        self._is_interrupted = True
        self._halt()

    def _halt(self):
        self._stop.set()
        for line in list(self._lines):
            line.cut()

    def _resume_after_halt(self):
        self._stop.clear()
        if self._is_interrupted:
            self._stop.set()
            raise Stopped()

    def _push(self):
        self._crcs.clear()
        upload = self._open_upload()
        completed = None
        while completed is None:
            slots = self._find_missing(upload)
            rounds = 0
            while slots:
                if rounds == MOST_ROUNDS:
                    message = "The gateway keeps losing parts that it has taken."
                    raise Failure(EXIT_REFUSED, "parts_lost", message)
                rounds += 1
                self._send_all(slots)
                slots = self._find_missing(upload)
            completed = self._complete(upload)
        self._state.forget()
        return completed

    def _open_upload(self):
        """Created, or looked up where an earlier run, or a lost answer, has created it already."""
        remembered = self._remembered()
        self.upload_id = remembered.get("uploadId")
        is_resumed = self.upload_id is not None
        if is_resumed:
            upload = self._call(Request("GET", "/uploads/" + self.upload_id)).body
        else:
            upload = self._create(remembered)
            self.upload_id = upload.get("id")
            if self.upload_id is not None:
                self._state.save(dict(remembered, uploadId=self.upload_id))
        if not UPLOAD_FIELDS <= upload.keys():
            raise Failure(EXIT_REFUSED, "no_gateway", "what answers at %s is not a gateway" % self._gateway.url)
        if upload["state"] in ("aborting", "aborted", "deleted"):
            raise UploadGone("The upload that was begun is gone (%s)." % upload.get("reason", upload["state"]))
        self._chunk = ChunkSize(max(SMALLEST_CHUNK_BYTES, min(upload["partSize"], self._source.size)))
        self._report.start(upload, upload["receivedBytes"] if is_resumed else 0)
        return upload

    def _remembered(self):
        identity = self._source.identity
        remembered = self._state.load()
        is_same = remembered is not None and all(remembered.get(name) == identity[name] for name in identity)
        if not is_same and remembered is not None and "uploadId" in remembered:
            raise self._source.changed("since its push was begun", remembered, identity)
        if not is_same:
            remembered = dict(identity, idempotencyKey=secrets.token_hex(16))
            # Before the upload is created: whoever is killed in between finds it again.
            self._state.save(remembered)
        return remembered

    def _create(self, remembered):
        """The same one again, where it has been created already and the answer was lost."""
        body = {"key": self._options.key, "size": remembered["size"]}
        headers = {"Idempotency-Key": remembered["idempotencyKey"]}
        return self._call(json_request("POST", "/uploads", body, headers)).body

    def _drop_earlier(self):
        remembered = self._state.load() or {}
        if remembered:
            try:
                upload_id = remembered.get("uploadId") or self._create(remembered)["id"]
                self._call(Request("DELETE", "/uploads/" + upload_id))
            except (UploadGone, Failure) as refusal:
                # What is over already needs no end.
                if isinstance(refusal, Failure) and refusal.exit_code not in (EXIT_NO_UPLOAD, EXIT_REFUSED):
                    raise
        self._state.forget()

    # --- what is missing

    def _find_missing(self, upload):
        """The slots of which bytes are missing, by the gateway's word; their CRCs are checked on the way."""
        slots = self._list_parts(upload)
        missing = self._missing_ranges(self._line)
        for slot in slots:
            slot.cut_to(missing)
        slots = [slot for slot in slots if slot.gaps]
        missing_bytes = sum(slot.missing_bytes for slot in slots)
        self._progress.begin(
            size=self._source.size,
            stored_bytes=self._source.size - missing_bytes,
            parts=upload["partCount"],
            stored_parts=upload["partCount"] - len(slots),
        )
        return slots

    def _list_parts(self, upload):
        """The slots without a part. One that fragments cover is among them until its part is made."""
        slots, after = [], 0
        while after is not None:
            path = "/uploads/%s/parts?after=%d&limit=%d" % (upload["id"], after, LISTED_PARTS)
            page = self._call(Request("GET", path)).body
            slots += [Slot(part["partNumber"], part["offset"], part["size"]) for part in page["missing"]]
            for part in page["parts"]:
                self._check_part(part["partNumber"], parse_digest(part.get("checksum")))
            after = page.get("nextAfter")
        return slots

    def _check_part(self, part_number, stored_crc):
        """What an earlier run sent is taken on record: its digests were checked when it came."""
        if stored_crc is not None and self._crcs.setdefault(part_number, stored_crc) != stored_crc:
            raise self._damaged("part %d is stored with another CRC-32 than it has here" % part_number)

    def _missing_ranges(self, line):
        """Ranges (offset, size) that are not durable. A query without a total never completes the upload."""
        path = "/uploads/" + self.upload_id
        upload = self._call(Request("PUT", path, {"Content-Range": "bytes */*"}), line).body
        missing = [(gap["offset"], gap["size"]) for gap in upload["missing"]]
        if len(missing) == LISTED_RANGES:
            # The rest is not told: taken as missing, at worst it is sent again, and compared there.
            last_offset, _ = missing.pop()
            missing.append((last_offset, self._source.size - last_offset))
        return missing

    # --- sending

    def _send_all(self, slots):
        waiting = queue.Queue()
        for slot in slots:
            waiting.put(slot)
        failures = []
        crew = [
            threading.Thread(target=self._work, args=(waiting, failures), daemon=True)
            for _ in range(min(self._options.parallel, len(slots)))
        ]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        self._resume_after_halt()
        if failures:
            raise failures[0]

    def _work(self, waiting, failures):
        line = self._new_line()
        try:
            while not self._stop.is_set():
                slot = waiting.get_nowait()
                self._send_slot(line, slot)
                self._progress.stored_part()
        except (queue.Empty, Stopped):
            return
        except Exception as failure:
            failures.append(failure)
            # What the others have under way cannot be completed.
            self._halt()
        finally:
            line.close()
            self._lines.remove(line)

    def _send_slot(self, line, slot):
        if slot.part_number not in self._crcs:
            self._crcs[slot.part_number] = self._source.crc32(slot.offset, slot.size)
        tries = mismatches = 0
        while slot.gaps:
            chunk_bytes, epoch = self._chunk.now()
            offset, size = slot.take(chunk_bytes)
            is_part = slot.is_untouched and size == slot.size
            try:
                line.ask(self._part_request(slot) if is_part else self._range_request(offset, size))
            except Temporary as trouble:
                if trouble.is_break:
                    self._chunk.broke(epoch)
                self._patience.wait(trouble, tries, slot.part_number)
                tries = 0 if self._has_more(line, slot) else tries + 1
            except DigestMismatch as mismatch:
                self._source.require_unchanged()
                mismatches += 1
                if mismatches == MOST_DIGEST_MISMATCHES:
                    raise self._damaged(str(mismatch))
            except Conflict as conflict:
                self._settle(conflict, line, slot)
            else:
                tries = 0
                slot.stored(size)
                self._chunk.held()
                self._patience.renew()
                self._progress.stored(size)

    def _part_request(self, slot):
        return Request(
            "PUT",
            "/uploads/%s/parts/%d" % (self.upload_id, slot.part_number),
            {"Content-Digest": format_digest(self._crcs[slot.part_number])},
            self._source.pieces(slot.offset, slot.size),
            slot.size,
        )

    def _range_request(self, offset, size):
        content_range = "bytes %d-%d/%d" % (offset, offset + size - 1, self._source.size)
        pieces = self._source.pieces(offset, size)
        return Request("PUT", "/uploads/" + self.upload_id, {"Content-Range": content_range}, pieces, size)

    def _has_more(self, line, slot):
        """After a break only the gateway knows what came: all of it, a piece, or nothing."""
        before = slot.missing_bytes
        slot.cut_to(self._missing_ranges(line))
        if slot.missing_bytes < before:
            self._patience.renew()
        self._progress.stored(before - slot.missing_bytes)
        return slot.missing_bytes < before

    def _settle(self, conflict, line, slot):
        if conflict.conflict == "differs":
            message = "The gateway has other bytes of part %d than %s. With --restart what was sent is dropped."
            raise Failure(EXIT_SOURCE, "source_changed", message % (slot.part_number, readable(self._source.path)))
        if conflict.upload_state not in ("completing", "completed"):
            raise conflict
        if not self._has_more(line, slot):
            raise conflict

    # --- completing

    def _complete(self, upload):
        """The completed upload; None where bytes turn out to be missing."""
        self._source.require_unchanged()
        body = {"size": self._source.size, "digest": format_digest(self._whole_crc32(upload))}
        path = "/uploads/%s/complete" % upload["id"]
        tries = 0
        while True:
            try:
                answer = self._call(json_request("POST", path, body))
            except Conflict as conflict:
                if not conflict.is_incomplete or self._refusals == MOST_REFUSED_COMPLETIONS:
                    raise
                self._refusals += 1
                return None
            except DigestMismatch as mismatch:
                raise self._damaged(str(mismatch))
            if answer.status == 200:
                return answer.body
            self._patience.wait(Temporary("it is being completed", answer.retry_after_seconds), tries)
            tries += 1

    def _whole_crc32(self, upload):
        part_size, size = upload["partSize"], self._source.size
        places = [(number, (number - 1) * part_size) for number in range(1, upload["partCount"] + 1)]
        slots = [Slot(number, offset, min(part_size, size - offset)) for number, offset in places if offset < size]
        for slot in slots:
            # Of a slot that came in ranges, in an earlier run.
            if slot.part_number not in self._crcs:
                self._crcs[slot.part_number] = self._source.crc32(slot.offset, slot.size)
        return join_crc32s((self._crcs[slot.part_number], slot.size) for slot in slots)

    def _damaged(self, what):
        message = "%s. What the gateway holds is not the file; with --restart it is dropped and pushed anew"
        return Failure(EXIT_INTEGRITY, "digest_mismatch", message % what.rstrip("."), resumable=False)

    # --- calls

    def _new_line(self):
        line = Line(self._gateway, self._throttle, self._progress, self._stop)
        self._lines.append(line)
        return line

    def _call(self, request, line=None):
        """Calls that may be repeated, which all but the bodies of parts are, until there is an answer."""
        tries = 0
        while True:
            try:
                answer = (line or self._line).ask(request)
            except Temporary as trouble:
                self._patience.wait(trouble, tries)
                tries += 1
                continue
            if line is None:
                self._patience.renew()
            return answer


# --- Telling ------------------------------------------------------------------------------------------------------


class Progress:
    """How far the push is. Written by all threads, read by the one that reports."""

    def __init__(self):
        self._lock = threading.Lock()
        self.size = self.stored_bytes = self.flying_bytes = 0
        self.parts = self.stored_parts = self.in_flight = self.retries = 0
        self._sent_bytes = 0
        self._samples = collections.deque([(time.monotonic(), 0)])

    def begin(self, size, stored_bytes, parts, stored_parts):
        with self._lock:
            self.size, self.stored_bytes = size, stored_bytes
            self.parts, self.stored_parts = parts, stored_parts

    def launched(self):
        with self._lock:
            self.in_flight += 1

    def sent(self, size):
        with self._lock:
            self.flying_bytes += size
            self._sent_bytes += size

    def landed(self, size):
        with self._lock:
            self.in_flight -= 1
            self.flying_bytes -= size

    def stored(self, size):
        with self._lock:
            self.stored_bytes += size

    def stored_part(self):
        with self._lock:
            self.stored_parts += 1

    def retried(self):
        with self._lock:
            self.retries += 1

    @property
    def done_bytes(self):
        """What is on its way counts, until it is lost."""
        return min(self.size, self.stored_bytes + self.flying_bytes)

    def bytes_per_second(self):
        """Of what was sent in the last seconds: what an earlier run sent is not among it."""
        now = time.monotonic()
        with self._lock:
            self._samples.append((now, self._sent_bytes))
            while len(self._samples) > 2 and self._samples[1][0] <= now - RATE_WINDOW_SECONDS:
                self._samples.popleft()
            since, sent_bytes = self._samples[0]
            return (self._sent_bytes - sent_bytes) / max(now - since, 0.001)


class Report:
    """What the user hears: results on standard output, everything else on standard error."""

    def __init__(self, name, progress, is_quiet):
        self._name = name
        self._progress = progress
        self._is_quiet = is_quiet
        self._lock = threading.Lock()
        is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._is_redrawn = is_terminal and "CI" not in os.environ
        self._is_colored = self._is_redrawn and "NO_COLOR" not in os.environ
        is_unicode = (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"
        self._full, self._empty, self._dot = ("━", "─", " · ") if is_unicode else ("=", "-", ", ")
        self._trouble = None
        self._stored_at_trouble = 0
        self._is_line_open = False
        self._next_at = time.monotonic() + (0 if self._is_redrawn else PLAIN_LINE_SECONDS)

    def start(self, upload, resumed_bytes):
        if resumed_bytes > 0:
            self._tell("%s: resumed at %s, not sent again" % (self._name, binary(resumed_bytes)))

    def note(self, text):
        self._tell("%s: %s" % (self._name, text))

    def retry(self, reason, pause_seconds, part_number):
        self._progress.retried()
        # Each trouble is told once; the line that is redrawn may not be there yet.
        if reason != self._trouble:
            self._tell("%s: %s; trying again" % (self._name, reason))
        self._trouble = reason
        self._stored_at_trouble = self._progress.stored_bytes

    def tick(self):
        now = time.monotonic()
        if self._progress.stored_bytes > self._stored_at_trouble:
            self._trouble = None
        if self._is_quiet or now < self._next_at:
            return
        if self._is_redrawn:
            self._next_at = now + REDRAW_SECONDS
            self._redraw()
        else:
            self._next_at = now + PLAIN_LINE_SECONDS
            self._write(self._status(bar="") + "\n")

    def state(self):
        """Asked for, so told also where all else is quiet."""
        self._close_line()
        self._write(self._status(bar="") + "\n")

    def end(self, upload):
        self._close_line()
        put(sys.stdout, "%s\t%d\t%s\n" % (upload["key"], upload["size"], upload["etag"]))

    def fail(self, failure, upload_id):
        self._close_line()
        self._write("%s: %s\n" % (PROGRAM, failure))

    def _tell(self, text):
        if not self._is_quiet:
            self._close_line()
            self._write(text + "\n")

    def _status(self, bar, columns=None):
        """Words that do not fit are left out, the least telling first; none is cut."""
        progress = self._progress
        rate = progress.bytes_per_second()
        done, size = progress.done_bytes, progress.size
        share = 100 * done / size if size else 0
        words = ["%.1f%%" % share]
        if self._trouble is not None:
            words.append(self._trouble)
        words.append(binary_of(done, size))
        if self._trouble is None:
            words.append(binary(rate) + "/s")
            if rate > 0:
                words.append("ETA ~%s" % duration((size - done) / rate))
        words.append("parts %d/%d" % (progress.stored_parts, progress.parts))
        words = [" " + word for word in words]
        words.append("%s%d in flight" % (self._dot, progress.in_flight))
        if progress.retries:
            words.append(self._dot + counted(progress.retries, "retry", "retries"))
        head = self._name + (" " + bar if bar else "")
        if columns is None:
            return head + "".join(words)
        while len(words) > 1 and len(head + "".join(words)) > columns:
            words.pop()
        if len(head + "".join(words)) > columns:
            head = self._name
        return (head + "".join(words))[:columns]

    def _redraw(self):
        progress = self._progress
        width = 20
        full = int(width * progress.done_bytes / progress.size) if progress.size else 0
        columns = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        line = self._status(self._full * full + self._empty * (width - full), columns)
        if self._is_colored:
            line = line.replace(self._full * full, "\033[32m%s\033[0m" % (self._full * full), 1) if full else line
        self._is_line_open = True
        self._write("\r\033[K" + line)

    def _close_line(self):
        if self._is_line_open:
            self._is_line_open = False
            self._write("\r\033[K")

    def _write(self, text):
        with self._lock:
            put(sys.stderr, text)


class JsonReport:
    """The same for programs: one object a line on standard output."""

    def __init__(self, name, progress):
        self._name = name
        self._progress = progress
        self._lock = threading.Lock()
        self._next_at = time.monotonic() + JSON_STATUS_SECONDS

    def start(self, upload, resumed_bytes):
        self._put("start", uploadId=upload["id"], key=upload["key"], size=upload["size"], resumedBytes=resumed_bytes)

    def note(self, text):
        self._put("note", text=text)

    def retry(self, reason, pause_seconds, part_number):
        self._progress.retried()
        self._put("retry", reason=reason, afterSeconds=round(pause_seconds, 3), partNumber=part_number)

    def tick(self):
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + JSON_STATUS_SECONDS
            self.state()

    def state(self):
        progress = self._progress
        self._put(
            "status",
            size=progress.size,
            storedBytes=progress.stored_bytes,
            inFlightBytes=progress.flying_bytes,
            bytesPerSecond=round(progress.bytes_per_second()),
            parts=progress.parts,
            storedParts=progress.stored_parts,
            retries=progress.retries,
        )

    def end(self, upload):
        self._put("summary", uploadId=upload["id"], key=upload["key"], size=upload["size"], etag=upload["etag"])

    def fail(self, failure, upload_id):
        self._put(
            "error",
            code=failure.code,
            message=str(failure),
            exitCode=failure.exit_code,
            uploadId=upload_id,
            resumable=failure.resumable and upload_id is not None,
        )

    def _put(self, message_type, **values):
        line = json.dumps(dict({"message_type": message_type, "file": self._name}, **values))
        with self._lock:
            put(sys.stdout, line + "\n")


def put(stream, text):
    """UTF-8 whatever the locale: cron's is C."""
    try:
        stream.buffer.write(text.encode("utf-8", "replace"))
        stream.flush()
    except BrokenPipeError:
        # Who listened has left; the push goes on without.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def binary(size):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1000:
            break
        size /= KIB
    else:
        unit = "TiB"
    return "%d %s" % (size, unit) if unit == "B" else "%.1f %s" % (size, unit)


def binary_of(part, whole):
    """4.2/10.0 GiB: the unit once where it is the same."""
    (number, unit), text = binary(part).split(), binary(whole)
    return "%s/%s" % (number if text.endswith(" " + unit) else "%s %s" % (number, unit), text)


def duration(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "%d:%02d:%02d" % (hours, minutes, seconds) if hours else "%d:%02d" % (minutes, seconds)


def counted(count, one, many):
    return "%d %s" % (count, one if count == 1 else many)


# --- The command line ---------------------------------------------------------------------------------------------

EPILOG = """\
examples:
  %(prog)s backup.tar.gz http://gateway:8080
  %(prog)s backup.tar.gz https://gateway.example nightly/backup.tar.gz --api-key-file /etc/partway/api-key
  %(prog)s --limit-rate 10M --parallel 2 --json disk.img https://gateway.example

Cut off, the same command goes on where it was: what the gateway has is not sent again. SIGUSR1 prints how far it is.

exit codes:
  0 pushed   1 unexpected   2 usage   3 the file is missing or has changed   4 no such upload
  5 temporary, run it again   6 not authorised   7 integrity   8 refused   130 interrupted   143 terminated

environment: PARTWAY_API_KEY or PARTWAY_API_KEY_FILE (a secret is never an argument), PARTWAY_PARALLEL,
PARTWAY_LIMIT_RATE, PARTWAY_TIMEOUT, PARTWAY_GIVE_UP_AFTER, PARTWAY_CA_FILE, XDG_STATE_HOME, NO_COLOR, CI
"""


def main():
    try:
        options = parse_options()
        progress = Progress()
        report = JsonReport(options.name, progress) if options.json else Report(options.name, progress, options.quiet)
    except Failure as failure:
        put(sys.stderr, "%s: %s\n" % (PROGRAM, failure))
        return failure.exit_code
    push = state = None
    try:
        source = Source(options.file, piece_bytes_at(options.limit_rate))
        progress.size = source.size
        gateway = Gateway(options.url, api_key_of(options), options.timeout, options.ca_file)
        state = State(gateway.url, options.key, source)
        push = Push(options, source, state, gateway, progress, report)
        report.end(supervise(push, report))
        return 0
    except Exception as error:
        failure = error if isinstance(error, Failure) else unexpected(error)
        report.fail(failure, push and push.upload_id)
        return failure.exit_code
    finally:
        if state is not None:
            state.close()


def supervise(push, report):
    """Runs the push in a thread, so that this one always hears signals at once. Returns the completed upload."""
    outcome = {}
    signals = catch_signals()

    def run():
        try:
            outcome["upload"] = push.run()
        except BaseException as error:
            outcome["error"] = error

    conductor = threading.Thread(target=run, daemon=True)
    conductor.start()
    while conductor.is_alive() and signals.ending is None:
        conductor.join(REDRAW_SECONDS)
        if signals.take_state_request():
            report.state()
        report.tick()
    if conductor.is_alive():
        push.interrupt()
        conductor.join(LAST_WORDS_SECONDS)
    if "upload" in outcome:
        return outcome["upload"]
    if signals.ending is not None:
        raise ended_by(signals.ending, push.kept)
    raise outcome["error"]


class Signals:
    def __init__(self):
        self.ending = None
        self._is_state_wanted = False

    def end(self, number, _frame):
        if self.ending is not None:
            os._exit(128 + number)
        self.ending = number

    def want_state(self, _number, _frame):
        self._is_state_wanted = True

    def take_state_request(self):
        is_wanted, self._is_state_wanted = self._is_state_wanted, False
        return is_wanted


def catch_signals():
    signals = Signals()
    signal.signal(signal.SIGINT, signals.end)
    signal.signal(signal.SIGTERM, signals.end)
    signal.signal(signal.SIGUSR1, signals.want_state)
    return signals


def ended_by(number, kept):
    arguments = [argument for argument in sys.argv if argument != "--restart"]
    command = readable(" ".join(shlex.quote(argument) for argument in arguments))
    if kept is None:
        message = "Interrupted before anything was sent. To try again: %s" % command
    else:
        message = "The upload is kept with %s stored. This goes on with it: %s" % (kept, command)
    if number == signal.SIGINT:
        return Failure(EXIT_INTERRUPTED, "interrupted", message)
    return Failure(EXIT_TERMINATED, "terminated", message)


def parse_options():
    options = option_parser().parse_args()
    if options.file == "-":
        raise usage(
            "a push that can be resumed needs a file. From a pipe send it in one request, curl -T - %s/objects/KEY, "
            "or piece by piece with Content-Range" % options.url.rstrip("/")
        )
    require_gateway(options.url)
    options.key = key_of(options)
    options.name = readable(os.path.basename(options.file))
    return options


def option_parser():
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Pushes a file to a Partway gateway, and goes on where an earlier push of it was cut off.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="a regular file; it must stay as it is until it is pushed")
    add("url", metavar="URL", help="the gateway, such as http://127.0.0.1:8080")
    add("key", metavar="KEY", nargs="?", help="the object's key (default: the file's name)")
    environment = os.environ.get
    add("--api-key-file", metavar="FILE", default=environment("PARTWAY_API_KEY_FILE"), help="holds the API key")
    add("--ca-file", metavar="FILE", default=environment("PARTWAY_CA_FILE"), help="certificates to trust (PEM)")
    add(
        "--parallel",
        metavar="N",
        type=count,
        default=environment("PARTWAY_PARALLEL", "4"),
        help="parts at once (default: 4)",
    )
    add(
        "--limit-rate",
        metavar="RATE",
        type=rate,
        default=environment("PARTWAY_LIMIT_RATE"),
        help="bytes a second for all parts together: 500K, 10M, 1G (powers of 1024)",
    )
    add(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=environment("PARTWAY_TIMEOUT", "60"),
        help="a gateway that is silent for so long has lost the request (default: 60)",
    )
    add(
        "--give-up-after",
        metavar="SECONDS",
        type=seconds,
        default=environment("PARTWAY_GIVE_UP_AFTER", "900"),
        help="ends with 5 when nothing got through for so long (default: 900)",
    )
    add("--restart", action="store_true", help="drops what an earlier push of this file has sent")
    add("--json", action="store_true", help="one JSON object a line on standard output")
    add("-q", "--quiet", action="store_true", help="no progress; failures are told")
    add("--version", action="version", version="%(prog)s " + VERSION)
    return parser


def require_gateway(url):
    place = urllib.parse.urlsplit(url)
    try:
        is_place = place.scheme in ("http", "https") and bool(place.hostname) and place.port != 0
    except ValueError:
        is_place = False
    if not is_place or place.query or place.fragment:
        raise usage("URL: %r is not the URL of a gateway, such as http://127.0.0.1:8080" % url)
    if "@" in place.netloc:
        raise usage("URL: no secrets in arguments, which others can list: PARTWAY_API_KEY or --api-key-file has the key")


def key_of(options):
    key = options.key if options.key is not None else os.path.basename(options.file)
    try:
        return os.fsencode(key).decode("utf-8")
    except UnicodeDecodeError:
        raise usage("KEY: %s is not UTF-8; name the object" % readable(key))


def api_key_of(options):
    key = os.environ.get("PARTWAY_API_KEY")
    if options.api_key_file and not key:
        try:
            with open(options.api_key_file, encoding="ascii", errors="replace") as file:
                key = file.read()
        except OSError as error:
            raise usage("--api-key-file %s: %s" % (options.api_key_file, error.strerror))
    key = (key or "").strip()
    if not re.match(r"^[!-~]*$", key):
        raise usage("the API key has characters that no API key has")
    return key


def piece_bytes_at(bytes_per_second):
    """Small enough that a gateway that waits for the next piece does not take the line for dead."""
    if bytes_per_second is None:
        return PIECE_BYTES
    return int(max(SMALLEST_PIECE_BYTES, min(PIECE_BYTES, bytes_per_second / 16)))


def count(text):
    value = int(text)
    if not 1 <= value <= 64:
        raise argparse.ArgumentTypeError("from 1 to 64")
    return value


def seconds(text):
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError("more than 0")
    return value


def rate(text):
    found = re.match(r"^([0-9]+(?:\.[0-9]+)?)([KMG]?)$", text.upper())
    value = float(found.group(1)) * KIB ** " KMG".index(found.group(2) or " ") if found else 0
    if value < KIB:
        raise argparse.ArgumentTypeError("bytes a second, 1K at least, such as 10M")
    return value


def unexpected(error):
    put(sys.stderr, "".join(traceback.format_exception(type(error), error, error.__traceback__)))
    return Failure(EXIT_UNEXPECTED, "unexpected", "%s: %s" % (type(error).__name__, error))


def usage(message):
    return Failure(EXIT_USAGE, "usage", message, resumable=False)


if __name__ == "__main__":
    sys.exit(main())
