"""Downloading a file from a server that may fail; what an earlier try got is resumed."""

import hashlib
import time
from pathlib import Path
from typing import IO

import requests
from requests import Response
from requests.exceptions import ChunkedEncodingError

from engine.messages import InputError, Progress, log

MEGABYTE = 10**6
BLOCK = 2**14  # of a download; a cut connection costs the block it came in


def download(url: str, folder: Path, attempts: int = 5, backoff: float = 1) -> Path:
    """Download `url` into `folder`, resuming an earlier try, and return the file.

    Raises:
        InputError: The server refuses, sends a web page, or failed `attempts` times in a row.
        requests.RequestException: The URL is malformed or redirects without end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.part"
    complete = part.with_suffix(".archive")
    if complete.exists():  # the job was stopped while it unpacked
        return complete
    failures, most = 0, 0
    with requests.Session() as session:
        session.max_redirects = 10
        while True:
            try:
                _receive(session, url, part)
                part.with_suffix(".version").unlink(missing_ok=True)
                return part.rename(complete)
            except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError) as error:
                have = part.stat().st_size if part.exists() else 0
                failures = 1 if have > most else failures + 1  # progress restores the patience
                most = max(most, have)
                # urllib3 wraps the reason ("Failed to resolve ...") in a longer tale.
                reason = getattr(error.args[0] if error.args else None, "reason", error)
                if failures >= attempts:
                    raise InputError(f"{attempts} attempts failed; the last: {reason}") from error
                wait = backoff * 2 ** (failures - 1)
                log.info("%s: %s; trying again in %.0f s", url, reason, wait)
                time.sleep(wait)


def _receive(session: requests.Session, url: str, part: Path) -> None:
    """Download the rest of `url` that `part` lacks; requests.ConnectionError is worth a retry."""
    have = part.stat().st_size if part.exists() else 0
    version = part.with_suffix(".version")
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version.exists():  # a changed file is then sent from its start
            headers["If-Range"] = version.read_text()
    with session.get(url, headers=headers, stream=True, timeout=(10, 60)) as response:
        status = response.status_code
        answer = f"the server answers {status} {response.reason}"
        if status >= 500 or status in (408, 429):
            raise requests.ConnectionError(answer)
        place = response.headers.get("Content-Range", "")
        misplaced = status == 206 and not place.startswith(f"bytes {have}-")
        if status == 416 or misplaced:  # also what a complete part that was not yet renamed gets
            part.unlink(missing_ok=True)
            raise requests.ConnectionError(f"{answer}, which does not fit the {have} bytes here")
        if status not in (200, 206):
            raise InputError(answer)
        if status == 200:
            have = 0
            version.unlink(missing_ok=True)
            etag = response.headers.get("ETag", "")
            if etag.startswith('"'):  # weak ones do not promise the same bytes
                version.write_text(etag)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as file:
            _save(url, response, file, have, total)
        if total is not None and part.stat().st_size != total:
            raise requests.ConnectionError("the connection was cut")


def _save(url: str, response: Response, file: IO[bytes], have: int, total: int | None) -> None:
    """Append a response's content to `file` (`have` of `total` bytes are there) with progress."""
    what = f"downloading {url} (MB)"
    progress = Progress(what, max(1, (total or 0) // MEGABYTE), have // MEGABYTE)
    reported = time.monotonic()
    for block in response.iter_content(BLOCK):
        start = block[:100].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
        if not have and start.startswith((b"<!doctype html", b"<html")):
            raise InputError("the server sends a web page instead of an archive")
        file.write(block)
        have += len(block)
        news = have // MEGABYTE - progress.done
        if total and news:
            progress.advance(news)
        elif not total and time.monotonic() - reported > progress.every:
            reported = time.monotonic()
            log.info("%s: %d so far", what, have // MEGABYTE)
